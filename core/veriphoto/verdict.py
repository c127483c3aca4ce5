"""The verdict: the one place where a probability becomes an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from veriphoto.contract import CONFIDENCE_HIGH, CONFIDENCE_MEDIUM, CONTRACT

Label = Literal["real", "ai_generated", "unsure"]
Prediction = Literal["real", "ai_generated"]
Confidence = Literal["low", "medium", "high"]
Reason = Literal["", "borderline", "too_small", "too_degraded"]

_RAREST = 0.002  # smaller shares rest on too few photos
_EPSILON = 1e-7  # keeps the logit of a saturated float32 sigmoid finite


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPoint:
    """What a model version answers at; written by training or ``calibrate``, constant in the exported graph.

    Raises:
        ValueError: If the numbers do not satisfy 0 <= unsure_low <= threshold <= unsure_high <= 1.
    """

    model_version: int
    threshold: float
    """Probability from which a picture counts as AI-generated."""
    unsure_low: float
    """Probability from which the answer is ``unsure`` ..."""
    unsure_high: float
    """... up to, not including, this one."""
    min_side: float
    """Shorter side in pixels under which a picture is too small to judge."""
    max_blockiness: float
    """``blockiness`` statistic above which a picture is too degraded to judge."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.unsure_low <= self.threshold <= self.unsure_high <= 1.0:
            raise ValueError(
                "an operating point needs 0 <= unsure_low <= threshold <= unsure_high <= 1, not "
                f"{self.unsure_low} <= {self.threshold} <= {self.unsure_high}"
            )

    @classmethod
    def from_tensor(cls, values: Sequence[float]) -> OperatingPoint:
        """Reads the OPERATING_POINT tensor.

        Args:
            values: FP32 [m], in the order of ``Contract.operating_point``.

        Returns:
            The operating point.

        Raises:
            ValueError: If the length or the numbers are wrong.
        """
        fields = dict(zip(CONTRACT.operating_point, (float(value) for value in values), strict=True))
        return cls(model_version=int(fields.pop("model_version")), **fields)

    def to_tensor(self) -> list[float]:
        """Returns the values in the order of ``Contract.operating_point``."""
        fields = asdict(self)
        return [float(fields[name]) for name in CONTRACT.operating_point]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer about one picture."""

    verdict: Label
    probability: float
    """Calibrated probability that the picture is AI-generated."""
    confidence: Confidence
    threshold: float
    model_version: int
    reason: Reason = ""
    """Why the verdict is ``unsure``; empty otherwise."""

    @property
    def prediction(self) -> Prediction:
        """The side of the threshold the picture falls on, also where the verdict is ``unsure``."""
        return "ai_generated" if self.probability >= self.threshold else "real"

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return asdict(self)


def decide(probability: float, statistics: Mapping[str, float], point: OperatingPoint) -> Verdict:
    """Makes the verdict.

    Args:
        probability: Calibrated probability in 0..1.
        statistics: What ``preprocess`` measured, by name (``Contract.statistics``).
        point: The operating point of the model version that gave the probability.

    Returns:
        ``unsure`` where the picture is too small, too degraded, or the probability lies in the band; else the side of
        the threshold. Confidence is the distance in logits to where the verdict would be another one: the end of the
        band on the picture's side, not the threshold inside it. It is always ``low`` when unsure.
    """
    reason = _reason(probability, statistics, point)
    prediction: Prediction = "ai_generated" if probability >= point.threshold else "real"
    cut = point.unsure_high if prediction == "ai_generated" else point.unsure_low
    margin = abs(logit(probability) - logit(cut))
    confidence: Confidence = "high" if margin >= CONFIDENCE_HIGH else "medium" if margin >= CONFIDENCE_MEDIUM else "low"
    return Verdict(
        verdict="unsure" if reason else prediction,
        probability=probability,
        confidence="low" if reason else confidence,
        threshold=point.threshold,
        model_version=point.model_version,
        reason=reason,
    )


def _reason(probability: float, statistics: Mapping[str, float], point: OperatingPoint) -> Reason:
    if min(statistics["width"], statistics["height"]) < point.min_side:
        return "too_small"
    if statistics["blockiness"] > point.max_blockiness:
        return "too_degraded"
    if point.unsure_low <= probability < point.unsure_high:
        return "borderline"
    return ""


def logit(probability: float) -> float:
    """Returns the logit of a probability, finite also where it is 0 or 1."""
    clipped = min(max(probability, _EPSILON), 1.0 - _EPSILON)
    return math.log(clipped / (1.0 - clipped))


def frequency(real_share: float) -> str:
    """Says in words how often real product photos score at least as high as a picture.

    Args:
        real_share: The share, 0 to 1.
    """
    if real_share <= _RAREST:
        return f"fewer than 1 in {round(1 / _RAREST)} real product photos score this high or higher"
    if real_share < 0.01:
        return f"about 1 in {round(1 / real_share, -1):.0f} real product photos scores this high or higher"
    return f"of 100 real product photos about {max(1, round(100 * real_share))} score this high or higher"
