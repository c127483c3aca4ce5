"""Asks the second opinion: one way for the server's step, the catalogue scan and measurements."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CLASSIFIER, ENCODER, FEATURES
from veriphoto.errors import ManifestError, ModelError
from veriphoto.second_opinion import (
    ENCODER_FP32,
    ENCODER_INT8,
    UNKNOWN_SHARE,
    Encoder,
    Joint,
    Mode,
    SecondOpinion,
    read_encoder,
    read_opinion,
)
from veriphoto.sessions import open_session
from veriphoto.variants import CpuKind, cpu_kind
from veriphoto.verdict import OperatingPoint

Features: TypeAlias = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""UINT8 [N, S, S, 3] in, FP32 [N, D] out."""


def open_encoder(directory: Path, threads: int = 1, kind: CpuKind | None = None) -> Features:
    """Loads the encoder's graph in the way that is fastest on this CPU and computes the same as FP32.

    Args:
        directory: ``model_repository/encoder/1``.
        threads: How many it may use.
        kind: Of CPU; this one's where None.

    Returns:
        What runs it; not for several threads at once.

    Raises:
        ManifestError: If it is missing or broken.
        ModuleNotFoundError: If no runtime is installed.
    """
    files = read_encoder(directory).files
    file, precision = _way(kind or cpu_kind())
    if file not in files:  # somebody's own graph comes in one file
        file = ENCODER_FP32
    session = open_session(directory / file, precision, threads, (FEATURES,))
    return lambda squares: session(squares)[0]


def _way(kind: CpuKind) -> tuple[str, str]:
    if importlib.util.find_spec("openvino") is None:
        return ENCODER_FP32, ""
    # With the eight-bit graph OpenVINO rounds activations to eight bits as well, each token by itself.
    ways = {
        CpuKind.AMX: (ENCODER_FP32, "bf16"),
        CpuKind.VNNI: (ENCODER_INT8, "f32"),
        CpuKind.PLAIN: (ENCODER_FP32, "f32"),
    }
    return ways[kind]


@dataclass(frozen=True, slots=True)
class Opinion:
    """The joint answer about one picture."""

    joint: Joint
    operating_point: OperatingPoint
    real_share: float

    def to_tensor(self, first_logit: float) -> list[float]:
        """Returns the values of OPINIONS, in the order of ``OPINION_VALUES``."""
        return [float(self.joint.asked), first_logit, self.joint.second_logit, self.real_share]


class Opinions:
    """Joins the classifier's answers with the second opinion, version by version.

    A version that has none, or was fitted for another encoder, keeps the classifier's answers.
    """

    def __init__(self, classifier: Path, encoder: Encoder | None, features: Features | None, mode: Mode) -> None:
        """Puts it together.

        Args:
            classifier: ``model_repository/classifier``, whose versions are read as answers name them.
            encoder: What stands in the encoder's place; None where nothing does.
            features: Runs it; None likewise.
            mode: When to ask.
        """
        self._classifier = classifier
        self._encoder = encoder
        self._features = features
        self._mode = mode if features is not None else Mode.OFF
        self._versions: dict[int, SecondOpinion | None] = {}

    def answer(self, crops: npt.NDArray[np.uint8], first_logit: float, point: OperatingPoint) -> Opinion:
        """Answers about one picture.

        Args:
            crops: UINT8 [K, S, S, 3].
            first_logit: The classifier's calibrated logit.
            point: The operating point that came with it.

        Returns:
            The joint answer.
        """
        opinion = self._of(point.model_version)
        if opinion is None or self._encoder is None or self._features is None:
            return Opinion(Joint(first_logit, False, 0.0), point, UNKNOWN_SHARE)
        seen = None
        if opinion.asks(first_logit, self._mode):
            seen = self._features(crops[self._encoder.square][None])[0]
        joint = opinion.join(first_logit, seen)
        return Opinion(joint, opinion.operating_point, opinion.real_share(joint.logit))

    def _of(self, version: int) -> SecondOpinion | None:
        if self._mode is Mode.OFF or self._encoder is None:
            return None
        if version not in self._versions:
            self._versions[version] = fitting(self._classifier / str(version), self._encoder, version)
        return self._versions[version]


def fitting(directory: Path, encoder: Encoder, version: int) -> SecondOpinion | None:
    """Reads a version's second opinion where it fits the encoder.

    Args:
        directory: The version's directory.
        encoder: What stands in the encoder's place.
        version: Its number.

    Returns:
        The opinion, or None where the version has none for this encoder.
    """
    try:
        opinion = read_opinion(directory)
    except ManifestError:
        return None
    if opinion is None or opinion.encoder != encoder.identity or len(opinion.weights) != encoder.features:
        return None
    return opinion.of_version(version)


def open_opinions(repository: Path, mode: Mode, *, threads: int = 1) -> Opinions:
    """Opens the second opinion of a model repository.

    Args:
        repository: The directory that holds the models.
        mode: When to ask.
        threads: How many the encoder may use.

    Returns:
        The opinions. In mode ``auto`` a missing encoder means that nobody is asked.

    Raises:
        ModelError: If the mode is ``always`` and the encoder cannot run.
    """
    place = repository / ENCODER / "1"
    if mode is Mode.OFF:
        return Opinions(repository / CLASSIFIER, None, None, mode)
    try:
        return Opinions(repository / CLASSIFIER, read_encoder(place), open_encoder(place, threads), mode)
    except (ModelError, ModuleNotFoundError) as error:
        if mode is Mode.ALWAYS:
            raise ModelError(f"the second opinion cannot be asked: {error}") from error
        return Opinions(repository / CLASSIFIER, None, None, Mode.OFF)
