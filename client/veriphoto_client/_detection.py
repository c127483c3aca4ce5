"""What the server's answers become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from veriphoto.verdict import OperatingPoint, Verdict


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detection:
    """The answer about one picture, and what it rests on."""

    verdict: Verdict
    """The answer: verdict, probability, confidence, threshold, model version, and why where it is ``unsure``."""
    logit: float
    """Calibrated logit; its sigmoid is ``verdict.probability``."""
    statistics: Mapping[str, float]
    """What was measured of the picture, by the names of ``Contract.statistics``. Read-only."""
    operating_point: OperatingPoint
    """What the verdict was decided at: threshold, unsure band and gates of the version that answered."""
    evidence: npt.NDArray[np.float32]
    """FP32 [K, G, G]: contributions to the logit, crop by crop; positive speaks for AI-generated. Read-only."""

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the evidence as plain JSON values."""
        return {**self.verdict.to_json(), "logit": self.logit, "statistics": dict(self.statistics)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """A server that has just scored a test picture; one that cannot is an exception instead."""

    url: str
    model_version: int
    threshold: float
    latency_ms: float
    """Milliseconds from sending the test picture to having its answer."""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return {
            "status": "ok",
            "url": self.url,
            "model_version": self.model_version,
            "threshold": self.threshold,
            "latency_ms": self.latency_ms,
        }
