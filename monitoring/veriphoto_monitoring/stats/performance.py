"""Estimates how well the model does without labels, and says what that rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from veriphoto_monitoring.input.features import VERDICTS, Floats, column
from veriphoto_monitoring.stats.prior import estimate_share, rebase

ASSUMPTION: Final = (
    "An estimate, not a measurement: it takes the model's probabilities, moved to today's share of AI-generated "
    "pictures, to be right. It follows changes in what is uploaded and cannot see a generator that "
    "fools the model; only labelled canaries can."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Confidence-based estimate over a window; None where nothing stands in the denominator."""

    images: int
    accuracy: float | None
    """Share of right verdicts among those given (``unsure`` is none)."""
    precision: float | None
    """Share of AI-generated pictures among those called so."""
    recall: float | None
    """Share of AI-generated pictures that are called so."""
    answered: float | None
    """Share of pictures with a verdict other than ``unsure``."""
    assumption: str = ASSUMPTION

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


def estimate(rows: Floats, prior: float | None = None) -> Estimate:
    """Estimates the performance: of pictures with probability p, a share p is AI-generated.

    Args:
        rows: [N, WIDTH] of the window.
        prior: Share of AI-generated pictures at which the probabilities are calibrated; None takes them as they are.
    """
    p, verdict = column(rows, "probability"), column(rows, "verdict")
    if prior is not None:
        p = rebase(p, prior, estimate_share(p, prior))
    ai, real = verdict == VERDICTS.index("ai_generated"), verdict == VERDICTS.index("real")
    found, cleared = float(p[ai].sum()), float((1.0 - p[real]).sum())
    return Estimate(
        images=len(rows),
        accuracy=_ratio(found + cleared, float((ai | real).sum())),
        precision=_ratio(found, float(ai.sum())),
        recall=_ratio(found, float(p.sum())),
        answered=_ratio(float((ai | real).sum()), len(rows)),
    )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
