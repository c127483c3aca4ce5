"""Asks the second opinion: one way for the server's step, the catalogue scan and measurements."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CLASSIFIER, CONTRACT, ENCODER, FEATURES, LOGIT, OPERATING_POINT, OPINIONS, PROBABILITY
from veriphoto.errors import ManifestError, ModelError
from veriphoto.second_opinion import (
    ENCODER_FILE,
    ENCODER_FP32,
    ENCODER_INT8,
    ENCODER_VNNI,
    Encoder,
    Joint,
    Mode,
    SecondOpinion,
    read_encoder,
    read_opinion,
    sigmoid,
    unasked,
)
from veriphoto.sessions import open_session
from veriphoto.variants import CpuKind, cpu_kind
from veriphoto.verdict import OperatingPoint

Features: TypeAlias = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""UINT8 [N, S, S, 3] in, FP32 [N, D] out."""
Tensors: TypeAlias = Mapping[str, npt.NDArray[np.float32]]

_log = logging.getLogger(__name__)
_UNUSED: Final = "the second opinion is not used: %s"
_AGAIN: Final = f"delete {ENCODER_FILE} and run: make encoder"


@dataclass(frozen=True, slots=True)
class _Way:
    """One of an encoder's graphs, and how OpenVINO runs it."""

    file: str
    precision: str
    group: int | None = 0
    """So many activations of a token are rounded to eight bits with one scale, for integer products; 0 for none, which
    widens the weights; None for OpenVINO's own choice."""


_WAYS: Final[Mapping[CpuKind, tuple[_Way, ...]]] = {
    CpuKind.AMX: (_Way(ENCODER_INT8, "bf16"), _Way(ENCODER_FP32, "bf16")),
    CpuKind.BF16: (_Way(ENCODER_VNNI, "bf16", 256), _Way(ENCODER_INT8, "f32", None), _Way(ENCODER_FP32, "f32")),
    CpuKind.VNNI: (_Way(ENCODER_VNNI, "f32", 256), _Way(ENCODER_INT8, "f32", None), _Way(ENCODER_FP32, "f32")),
    # Without VNNI integer products saturate.
    CpuKind.PLAIN: (_Way(ENCODER_INT8, "f32"), _Way(ENCODER_FP32, "f32")),
}
"""By kind of CPU, the fastest that sees as FP32 does first."""


@dataclass(frozen=True, slots=True)
class EncoderPackage:
    """The encoder as it travels to other processes and machines."""

    encoder: Encoder
    graphs: Mapping[str, bytes | Path]
    """Files, or their contents, by name."""

    @classmethod
    def require(cls, directory: Path) -> EncoderPackage:
        """Reads and checks the encoder's directory.

        Args:
            directory: ``model_repository/encoder/1``.

        Raises:
            ManifestError: If the encoder is missing or broken.
        """
        encoder = read_encoder(directory)
        return cls(encoder, {name: directory / name for name in encoder.files})

    @classmethod
    def read(cls, directory: Path, mode: Mode) -> EncoderPackage | None:
        """Reads and checks the encoder's directory, where somebody is to be asked.

        Args:
            directory: ``model_repository/encoder/1``.
            mode: When to ask.

        Returns:
            It, or None where nobody is to be asked: the mode is ``off``, or ``auto`` and there is no encoder, or a
            broken one, which is logged.

        Raises:
            ManifestError: If the mode is ``always`` and the encoder is missing or broken.
        """
        if mode is Mode.OFF:
            return None
        try:
            return cls.require(directory)
        except ManifestError as error:
            if mode is Mode.ALWAYS:
                raise
            if (directory / ENCODER_FILE).exists():
                _log.warning(_UNUSED, error.message)
            return None

    def loaded(self) -> EncoderPackage:
        """Returns a copy that holds, as bytes, the graphs that machines with CPUs of any kind run."""
        names = {self._way(kind).file for kind in CpuKind}
        graphs = {name: self.graphs[name] for name in sorted(names)}
        contents = {name: each.read_bytes() if isinstance(each, Path) else each for name, each in graphs.items()}
        return EncoderPackage(self.encoder, contents)

    def open(self, threads: int = 1, kind: CpuKind | None = None) -> Features:
        """Loads the graph in the way that is fastest on this CPU and sees as FP32 does.

        Args:
            threads: How many it may use.
            kind: Of CPU; this one's where None.

        Returns:
            What runs it; not for several threads at once.

        Raises:
            ManifestError: If the graph does not take our squares or does not answer with the features it promises.
            ModuleNotFoundError: If no runtime is installed.
        """
        way = self._way(kind or cpu_kind())
        settings = {} if way.group is None else {"DYNAMIC_QUANTIZATION_GROUP_SIZE": way.group}
        session = open_session(self.graphs[way.file], way.precision, threads, (FEATURES,), settings)

        def features(squares: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            seen: npt.NDArray[np.float32] = session(squares)[0]
            return seen

        self._check(features)
        return features

    def _check(self, features: Features) -> None:
        """Lets it look at one square: a graph for squares of another size may only fail at the first photo."""
        side = CONTRACT.crop_size
        unfit = f"the encoder '{self.encoder.name}' does not fit squares of {side} pixels"
        try:
            shape = features(np.zeros((1, side, side, 3), np.uint8)).shape
        except Exception as error:  # each runtime has its own words for it
            raise ManifestError(f"{unfit} ({error}); {_AGAIN}") from error
        if shape != (1, self.encoder.features):
            raise ManifestError(f"{unfit}: it answers {shape} instead of {self.encoder.features} features; {_AGAIN}")

    def _way(self, kind: CpuKind) -> _Way:
        if importlib.util.find_spec("openvino") is None:
            return _Way(ENCODER_FP32 if ENCODER_FP32 in self.graphs else next(iter(self.graphs)), "")
        ways = _WAYS[kind]
        # Somebody's own encoder comes in one file, under any name.
        return next((way for way in ways if way.file in self.graphs), replace(ways[-1], file=next(iter(self.graphs))))


class Opinions:
    """Joins the classifier's answers with the second opinion, version by version.

    A version that has none, or was fitted for another encoder, keeps the classifier's answers.
    """

    def __init__(
        self,
        find: Callable[[int], SecondOpinion | None],
        encoder: Encoder | None,
        features: Features | None,
        mode: Mode,
    ) -> None:
        """Puts it together.

        Args:
            find: Finds what a version has of the second opinion; asked once for each version.
            encoder: What stands in the encoder's place; None where nothing does.
            features: Runs it; None likewise.
            mode: When to ask.
        """
        self._find = find
        self._encoder = encoder
        self._features = features
        self._mode = mode
        self._versions: dict[int, SecondOpinion | None] = {}

    def joined(self, crops: npt.NDArray[np.uint8], first: Tensors) -> dict[str, npt.NDArray[np.float32]]:
        """Joins the answer about one picture.

        Args:
            crops: UINT8 [K, S, S, 3].
            first: What the classifier said, the batch dimension of 1 in front.

        Returns:
            The same tensors, LOGIT, PROBABILITY and OPERATING_POINT being those of both, and OPINIONS. Where nobody
            can be asked they are the classifier's, to the last bit.
        """
        logit = float(first[LOGIT][0, 0])
        point = OperatingPoint.from_tensor(first[OPERATING_POINT][0].tolist())
        opinion = self._of(point.model_version)
        if opinion is None or self._encoder is None or self._features is None:
            return {**first, OPINIONS: unasked(first[LOGIT], first[OPERATING_POINT])}
        seen = None
        if opinion.asks(logit, self._mode):
            seen = self._features(crops[self._encoder.square][None])[0]
        joint: Joint = opinion.join(logit, seen)
        return {
            **first,
            LOGIT: _row(joint.logit),
            PROBABILITY: _row(sigmoid(joint.logit)),
            OPERATING_POINT: _row(*opinion.operating_point.to_tensor()),
            OPINIONS: _row(
                float(joint.asked), logit, point.threshold, joint.second_logit, opinion.real_share(joint.logit)
            ),
        }

    def _of(self, version: int) -> SecondOpinion | None:
        if self._mode is Mode.OFF or self._encoder is None:
            return None
        if version not in self._versions:
            self._versions[version] = self._find(version)
        return self._versions[version]


def fitting(directory: Path, encoder: Encoder, version: int) -> SecondOpinion | None:
    """Reads a version's second opinion where it fits the encoder.

    Args:
        directory: The version's directory.
        encoder: What stands in the encoder's place.
        version: Its number.

    Returns:
        The opinion, or None where the version has none, or one for another encoder or a broken one, which is logged.
    """
    try:
        opinion = read_opinion(directory)
    except ManifestError as error:
        _log.warning(_UNUSED, error.message)
        return None
    if opinion is None:
        return None
    if not opinion.fits(encoder):
        _log.warning(_UNUSED, f"that of {directory} was fitted for another encoder")
        return None
    return opinion.of_version(version)


def open_opinions(repository: Path, mode: Mode, features: Features | None = None) -> Opinions:
    """Opens the second opinion of a model repository.

    Args:
        repository: The directory that holds the models.
        mode: When to ask.
        features: Runs the encoder elsewhere; None to run it in this process.

    Returns:
        The opinions. In mode ``auto`` a missing or broken encoder means that nobody is asked.

    Raises:
        ModelError: If the mode is ``always`` and the encoder cannot run.
    """
    package = EncoderPackage.read(repository / ENCODER / "1", mode)
    if package is None:
        return Opinions(lambda _: None, None, None, Mode.OFF)
    encoder = package.encoder
    try:
        run = features or package.open()
    except ModuleNotFoundError as error:
        raise ModelError(f"the second opinion needs onnxruntime or openvino: {error}") from error

    def find(version: int) -> SecondOpinion | None:
        return fitting(repository / CLASSIFIER / str(version), encoder, version)

    return Opinions(find, encoder, run, mode)


def _row(*values: float) -> npt.NDArray[np.float32]:
    return np.array([values], np.float32)
