"""Divides the budget of false alarms among statistics, windows and the number of tests per day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from veriphoto_monitoring.input.features import MONITORED
from veriphoto_monitoring.stats import distances
from veriphoto_monitoring.stats.distributions import Categories, Distribution, Mean, Numbers

WINDOWS: Final = {1000: 250, 5000: 500}
"""Sizes of the windows in images, and after how many new images each is tested again."""
LEAST: Final = 200
"""Minimum number of images for a test."""

_WEIGHTS: Final = {"score": 4.0, "mean_probability": 6.0, "verdict": 2.0}
"""Shares of the budget against 1 for a statistic of the picture: the answers matter most and move least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How many false alarms are allowed.

    Raises:
        ValueError: If a number is out of its range.
    """

    per_day: float = 0.01
    """Probability that a day without change has any alarm at all, over all statistics and windows."""
    images_per_day: float = 10_000.0
    """Expected traffic."""

    def __post_init__(self) -> None:
        if not 0.0 < self.per_day < 1.0 or self.images_per_day <= 0.0:
            raise ValueError("a budget needs 0 < per_day < 1 and images_per_day > 0")

    def alpha(self, name: str, window: int) -> float:
        """Returns the probability of a false alarm that one test may have.

        Bonferroni over everything tested in a day: cautious, as tests of overlapping windows agree, and true without
        any assumption about how much.

        Args:
            name: Name of the statistic.
            window: Size of the window.
        """
        weight = _WEIGHTS.get(name, 1.0) / sum(_WEIGHTS.get(each.name, 1.0) for each in MONITORED)
        tests = max(self.images_per_day / WINDOWS[window], 1.0)
        return self.per_day / len(WINDOWS) * weight / tests


def threshold(found: Distribution, alpha: float, images: int) -> float:
    """Returns the value above which a test of ``images`` images has a p-value under ``alpha``."""
    if isinstance(found, Numbers):
        return distances.gap_threshold(alpha, images, found.size) * found.inflation
    if isinstance(found, Mean):
        return distances.mean_threshold(alpha) * found.inflation
    assert isinstance(found, Categories)  # noqa: S101 - the union has three members
    return float(distances.table_value(alpha, len(found.counts))) * found.inflation**2  # type: ignore[arg-type]
