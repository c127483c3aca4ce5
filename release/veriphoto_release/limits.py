"""What a promotion lets pass unless it is told otherwise; light, for the command line shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TOLERANCE: Final = 0.005
"""Largest difference in probability between Triton and offline that passes; fp32 differs by 1e-6, fp16 by 1e-3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Margins:
    """How much worse a candidate may be, as shares of 1."""

    auroc: float = 0.005
    """Overall AUROC."""
    balanced_accuracy: float = 0.01
    """Overall balanced accuracy."""
    source: float = 0.05
    """Share of right answers in any one source."""
    false_alarms: float = 0.005
    """Share of real product photos called AI-generated."""
    pictures: int = 2
    """Differences of this many pictures or fewer, in a source or the product photos, never count as worse."""


MARGINS: Final = Margins()
