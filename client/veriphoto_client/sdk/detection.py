"""The values that a detector returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from veriphoto.second_opinion import sigmoid
from veriphoto.verdict import OperatingPoint, Verdict
from veriphoto_client.metadata.claims import Provenance

FeedbackStatus = Literal["decided", "reported", "unchanged", "kept", "waiting"]
"""What became of feedback; docs/api.md explains each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondOpinionAnswer:
    """The second opinion's part in an answer."""

    asked: bool
    first_logit: float
    """Calibrated logit of the classifier alone."""
    first_threshold: float
    """Probability from which the classifier alone calls a photo AI-generated."""
    second_logit: float
    """The second opinion's own logit, which is not calibrated by itself; 0 if it was not asked."""

    @property
    def first_probability(self) -> float:
        """Calibrated probability of the classifier alone."""
        return sigmoid(self.first_logit)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {"first_probability": self.first_probability, **asdict(self)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detection:
    """The answer about one photo, and what it is based on."""

    verdict: Verdict
    """Verdict, probability, confidence, threshold, model version, and the reason if it is ``unsure``."""
    logit: float
    """Calibrated logit; its sigmoid is ``verdict.probability``."""
    statistics: Mapping[str, float]
    """Measurements of the photo by the names of ``Contract.statistics``. Read-only."""
    operating_point: OperatingPoint
    """Threshold, unsure band and gates of the version that answered."""
    evidence: npt.NDArray[np.float32]
    """FP32 [K, G, G]: contributions to the classifier's logit for each crop; above 0 speaks for AI. Read-only. From the
    gateway K is 0; ``/predict/explain`` has the map."""
    second_opinion: SecondOpinionAnswer
    real_share: float | None
    """Share of real product photos that score at least as high; None if the version does not know."""
    request_id: str = ""
    """Id under which the prediction log has the answer. Empty if Triton itself was asked without a generated id."""
    provenance: Provenance | None = None
    """What the file's metadata claim, which the gateway reads; None if Triton itself was asked."""

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the evidence as plain JSON values."""
        return {
            **self.verdict.to_json(),
            "logit": self.logit,
            "statistics": dict(self.statistics),
            "second_opinion": self.second_opinion.to_json(),
            "real_photos_this_high": self.real_share,
            "request_id": self.request_id,
            "provenance": self.provenance.to_json() if self.provenance else None,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """A server that has just scored a test photo. An unhealthy server raises an exception instead."""

    url: str
    model_version: int
    threshold: float
    latency_ms: float
    """Milliseconds from sending the test photo to receiving its answer; from the gateway, of its own last one."""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return {
            "status": "ok",
            "url": self.url,
            "model_version": self.model_version,
            "threshold": self.threshold,
            "latency_ms": self.latency_ms,
        }
