"""The second opinion: what a version makes of a frozen encoder's features, and the rule that joins both scores.

The encoder (``model_repository/encoder``) is the same for every version: squares in, features out. What a version has
learned lies in its ``second_opinion.json``: a probe on those features, the cut above which a picture is worth asking
about, the rule, and the operating point of the joint score. So all of it is promoted and rolled back with the
version, and an answer names the version it was made with.
"""

from __future__ import annotations

import base64
import functools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CONTRACT
from veriphoto.errors import ManifestError
from veriphoto.manifest import DriftReference, sha256_file
from veriphoto.verdict import OperatingPoint, logit

OPINION_FILE: Final = "second_opinion.json"
"""Beside a version's manifest."""
ENCODER_FILE: Final = "encoder.json"
"""Beside the encoder's graph."""
ENCODER_FP32: Final = "model.onnx"
ENCODER_INT8: Final = "model.int8.onnx"
"""The same weights, kept as eight bits: a quarter of the size."""
ENCODER_VNNI: Final = "model.smooth.onnx"
"""The same network for CPUs that multiply eight bits: scaled so that its activations can be rounded, too."""
MODE_VARIABLE: Final = "VERIPHOTO_SECOND_OPINION"
"""Environment variable with the ``Mode``."""
SCHEMA: Final = 1

UNKNOWN_SHARE: Final = -1.0
"""Instead of a share of real product photos, where a version does not know it."""

_EPSILON: Final = 1e-3
"""How far, in logits, a picture that nobody was asked about stays below the cut of ``real``."""


class Mode(StrEnum):
    """When the second opinion is asked."""

    AUTO = "auto"
    """For pictures that the classifier cannot rule out; for none where encoder or version lack what it takes."""
    ALWAYS = "always"
    """For every picture."""
    OFF = "off"
    """Never: the classifier's score stands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """What stands in the encoder's place: ``encoder.json`` beside its graph.

    Any ONNX graph may stand there that maps CROPS UINT8 [N, S, S, 3] to FEATURES FP32 [N, D]. A specialist that
    answers with a score of its own is the case D = 1.
    """

    name: str
    identity: str
    """Of its weights and graph: probes are fitted for one identity."""
    features: int
    """D."""
    square: int
    """Index of the crop it looks at."""
    source: str
    """Where the weights come from."""
    licence: str
    files: Mapping[str, str] = field(default_factory=dict)
    """sha256 by file name."""

    def write(self, directory: Path) -> None:
        """Writes ``encoder.json``."""
        (directory / ENCODER_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def described(directory: Path) -> Encoder:
    """Reads ``encoder.json``, and none of the graphs.

    Args:
        directory: ``model_repository/encoder/1``.

    Raises:
        ManifestError: If it is missing or broken.
    """
    path = directory / ENCODER_FILE
    try:
        return Encoder(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ManifestError(f"{path} is missing; fetch the encoder with: make encoder") from None
    except (OSError, ValueError, TypeError) as error:
        raise ManifestError(f"{path} cannot be read ({error}); delete it and run: make encoder") from error


def read_encoder(directory: Path) -> Encoder:
    """Reads ``encoder.json`` and checks that the graphs beside it are those it describes.

    Args:
        directory: ``model_repository/encoder/1``.

    Raises:
        ManifestError: If it is missing, broken, or a graph is another.
    """
    encoder = described(directory)
    for name, sha256 in encoder.files.items():
        file = directory / name
        if not file.is_file() or sha256_file(file) != sha256:
            raise ManifestError(
                f"{file} is not the file that {ENCODER_FILE} describes; delete {ENCODER_FILE} and run: make encoder"
            )
    return encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Joins two logits into one."""

    ask_above: float
    """Logit of the classifier from which the second opinion is asked."""
    first_weight: float
    """Weight of the classifier's logit where it was asked ..."""
    second_weight: float
    """... and of the probe's ..."""
    bias: float
    """... and what is added."""
    alone_weight: float
    """Weight of the classifier's logit where nobody else was asked ..."""
    alone_bias: float
    """... and what is added."""


@dataclass(frozen=True, slots=True)
class Joint:
    """The joint answer about one picture."""

    logit: float
    asked: bool
    second_logit: float
    """The probe's logit, uncalibrated; 0 where it was not asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hidden:
    """The part of a probe that is not linear: ``output @ max(0, weights @ features + biases)``."""

    weights: str
    """FP16 [H, D] in base64, little-endian, row by row."""
    biases: tuple[float, ...]
    """[H]."""
    output: tuple[float, ...]
    """[H]."""

    @classmethod
    def of(cls, weights: npt.NDArray[Any], biases: npt.NDArray[Any], output: npt.NDArray[Any]) -> Hidden:
        """Packs a layer.

        Args:
            weights: [H, D].
            biases: [H].
            output: [H].
        """
        packed = base64.b64encode(weights.astype("<f2").tobytes()).decode("ascii")
        return cls(weights=packed, biases=tuple(map(float, biases)), output=tuple(map(float, output)))

    def __call__(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Returns what it adds to the logits of pictures.

        Args:
            features: FP32 [..., D].

        Raises:
            ValueError: If it was fitted for another D.
        """
        unpacked = _unpack(self.weights, len(self.biases))
        active = np.maximum(features @ unpacked.T + np.asarray(self.biases, np.float32), 0.0)
        return np.asarray(active @ np.asarray(self.output, np.float32), np.float64)


@functools.lru_cache(maxsize=16)
def _unpack(packed: str, rows: int) -> npt.NDArray[np.float32]:
    """Returns FP32 [rows, D]; kept, for it is asked for at every picture."""
    return np.frombuffer(base64.b64decode(packed, validate=True), "<f2").astype(np.float32).reshape(rows, -1)


def probe_logits(
    features: npt.NDArray[np.float32], weights: npt.ArrayLike, bias: float, hidden: Hidden | None
) -> npt.NDArray[np.float64]:
    """Applies a probe, uncalibrated.

    Args:
        features: FP32 [..., D].
        weights: The linear part's weights [D].
        bias: What is added.
        hidden: The part that is not linear, if there is one.

    Returns:
        FP64 [...].
    """
    linear = features.astype(np.float64) @ np.asarray(weights, np.float64) + bias
    return np.asarray(linear if hidden is None else linear + hidden(features))


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondOpinion:
    """What a version needs of the second opinion: ``second_opinion.json``."""

    encoder: str
    """Identity of the encoder that the probe was fitted for."""
    weights: tuple[float, ...]
    """The probe's linear part: FP32 [D]."""
    bias: float
    hidden: Hidden | None = None
    """What the probe adds to it."""
    rule: Rule
    operating_point: OperatingPoint
    """Of the joint score."""
    real_levels: tuple[float, ...]
    """Shares of real product photos ..."""
    real_logits: tuple[float, ...]
    """... that score at least this joint logit; falling shares, rising logits."""
    metrics: Mapping[str, float]
    drift_reference: DriftReference
    """Of the joint answers."""

    def fits(self, encoder: Encoder) -> bool:
        """Tells whether the probe reads this encoder's features."""
        return self.encoder == encoder.identity and len(self.weights) == encoder.features

    def asks(self, first_logit: float, mode: Mode) -> bool:
        """Tells whether a picture is worth asking about.

        Args:
            first_logit: The classifier's calibrated logit.
            mode: When to ask.
        """
        return mode is Mode.ALWAYS or (mode is Mode.AUTO and first_logit >= self.rule.ask_above)

    def join(self, first_logit: float, features: npt.NDArray[np.float32] | None) -> Joint:
        """Applies the rule.

        Args:
            first_logit: The classifier's calibrated logit.
            features: FP32 [D] of the encoder; None where it was not asked.

        Returns:
            The joint answer. Without features it stays below the cut of ``real``: what is not asked about has been
            ruled out.
        """
        rule = self.rule
        if features is None:
            alone = rule.alone_weight * first_logit + rule.alone_bias
            return Joint(min(alone, ceiling(self.operating_point)), False, 0.0)
        second = float(probe_logits(features, self.weights, self.bias, self.hidden))
        return Joint(rule.first_weight * first_logit + rule.second_weight * second + rule.bias, True, second)

    def real_share(self, logit: float) -> float:
        """Returns the share of real product photos that score at least so high.

        Args:
            logit: The joint logit.
        """
        return float(np.interp(logit, self.real_logits, self.real_levels))

    def of_version(self, version: int) -> SecondOpinion:
        """Returns a copy whose operating point names a version."""
        point = replace(self.operating_point, model_version=version)
        rounded = OperatingPoint.from_tensor([float(np.float32(value)) for value in point.to_tensor()])
        return replace(self, operating_point=rounded)

    def write(self, directory: Path) -> None:
        """Writes ``second_opinion.json``."""
        body = {"schema": SCHEMA, **asdict(self)}
        (directory / OPINION_FILE).write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def read_opinion(directory: Path) -> SecondOpinion | None:
    """Reads what a version has of the second opinion.

    Args:
        directory: A version's directory or a registered model's.

    Returns:
        It, or None where the version has none.

    Raises:
        ManifestError: If the file is broken or of another release.
    """
    path = directory / OPINION_FILE
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body.pop("schema") != SCHEMA:
            raise ManifestError(f"{path} is of another release; fit it again: veriphoto second-opinion")
        return _opinion(body)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{path} cannot be read ({type(error).__name__}); fit it again") from error


def ceiling(point: OperatingPoint) -> float:
    """Returns the joint logit that a picture which nobody was asked about stays below: just under the cut of ``real``.

    Args:
        point: Cuts of the joint score.
    """
    return logit(point.unsure_low) - _EPSILON


def unasked(logits: npt.NDArray[np.float32], points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the tensor OPINIONS of pictures whose classifier's answer stands, since nobody can be asked.

    Args:
        logits: The tensor LOGIT, FP32 [B, 1].
        points: The tensor OPERATING_POINT, FP32 [B, 6].

    Returns:
        FP32 [B, 5], in the order of ``OPINION_VALUES``.
    """
    thresholds = points[:, [CONTRACT.operating_point.index("threshold")]]
    nothing = np.zeros_like(logits)
    return np.concatenate([nothing, logits, thresholds, nothing, np.full_like(logits, UNKNOWN_SHARE)], axis=1)


def sigmoid(logit: float) -> float:
    """Returns the probability of a logit, without overflow."""
    return 1.0 / (1.0 + math.exp(-logit)) if logit >= 0.0 else math.exp(logit) / (1.0 + math.exp(logit))


def _opinion(body: dict[str, Any]) -> SecondOpinion:
    def numbers(name: str) -> tuple[float, ...]:
        return tuple(map(float, body.pop(name)))

    weights, hidden = numbers("weights"), body.pop("hidden", None)
    if hidden is not None:
        hidden = Hidden(weights=hidden["weights"], biases=tuple(hidden["biases"]), output=tuple(hidden["output"]))
        if len(hidden.output) != len(hidden.biases):
            raise ValueError(f"{len(hidden.biases)} hidden units and {len(hidden.output)} outputs")
        hidden(np.zeros(len(weights), np.float32))
    return SecondOpinion(
        rule=Rule(**body.pop("rule")),
        operating_point=OperatingPoint(**body.pop("operating_point")),
        drift_reference=DriftReference(**body.pop("drift_reference")),
        weights=weights,
        hidden=hidden,
        real_levels=numbers("real_levels"),
        real_logits=numbers("real_logits"),
        **body,
    )
