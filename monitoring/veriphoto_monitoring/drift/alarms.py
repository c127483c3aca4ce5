"""An alarm: what moved, which way, since when, why, and which pictures to look at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from veriphoto_monitoring.drift.history import History
from veriphoto_monitoring.input.features import MONITORED, Floats, Monitored
from veriphoto_monitoring.stats.distributions import Categories, Distribution, Mean, Numbers
from veriphoto_monitoring.stats.prior_shift import Cause
from veriphoto_monitoring.stats.testing import Tested

EXAMPLES: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """One statistic of one window that has left its reference."""

    statistic: str
    window: int
    model_version: int
    direction: str
    """``higher`` or ``lower``; for a category, which one is ``more`` or ``less`` frequent."""
    value: float
    threshold: float
    p_value: float
    cause: Cause
    raised: float
    """Time of the picture at which the alarm was raised, seconds since the epoch."""
    since: float
    """Time of the picture at which the change is estimated to have begun."""
    request_ids: tuple[str, ...]
    """The latest pictures that contribute to the excess."""
    seen: int
    """Pictures of the version when the test last failed."""
    ended: float | None = None

    @property
    def key(self) -> tuple[int, int, str]:
        """Identifies the alarm: at most one is open per key."""
        return self.model_version, self.window, self.statistic

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**asdict(self), "request_ids": list(self.request_ids)}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Alarm:
        """Reads what ``to_json`` wrote."""
        return cls(**{**body, "request_ids": tuple(body["request_ids"])})


def direction(each: Monitored, tested: Tested) -> str:
    """Says which way a statistic moved."""
    if each.kind == "category":
        return f"{'more' if tested.upwards else 'less'} {each.categories[int(tested.place)]}"
    return "higher" if tested.upwards else "lower"


def trace(
    each: Monitored, found: Distribution, history: History, tested: Tested, images: int
) -> tuple[float, tuple[str, ...]]:
    """Finds when a change began and pictures that show it.

    The change point is where the sum of what there is too much of, less what there should be and half of what the
    window has on top, is least: Page's cumulative sum, run backwards from an alarm.

    Args:
        each: The statistic.
        found: Its distribution in the reference.
        history: The version's pictures; the window is at their end.
        tested: The test that failed.
        images: Size of its window.

    Returns:
        Time of the first picture of the change, and up to ``EXAMPLES`` request ids.
    """
    excess = _excess(each, found, history, tested)
    grown = np.cumsum(excess - max(float(excess[-images:].mean()), 0.0) / 2.0)
    begin = int(np.argmin(np.concatenate([[0.0], grown])[:-1]))
    order = begin + np.argsort(excess[begin:], kind="stable")
    ids = history.ids(len(history))
    # A picture whose caller gave no id, or none that may be kept, is nothing that somebody could look at.
    named = (ids[i] for i in order[::-1] if excess[i] > 0 and ids[i])
    return float(history.times(len(history))[begin]), tuple(islice(named, EXAMPLES))


def _excess(each: Monitored, found: Distribution, history: History, tested: Tested) -> Floats:
    """Returns, per picture, what it adds to the excess: its mean over the reference is 0."""
    number, place = MONITORED.index(each), int(tested.place)
    if isinstance(found, Numbers):
        inside = history.cells(number, len(history)) <= place
        # Values became higher: there are too many above the cell, so too few up to it.
        level = found.lower[place] if tested.upwards else found.upper[place]
        return np.asarray((level - inside) if tested.upwards else (inside - level), dtype=np.float64)
    sign = 1.0 if tested.upwards else -1.0
    if isinstance(found, Mean):
        return np.asarray(sign * (history.rows(len(history))[:, each.index] - found.mean))
    assert isinstance(found, Categories)  # noqa: S101 - the union has three members
    share = found.counts[place] / found.counts.sum()
    return np.asarray(sign * ((history.cells(number, len(history)) == place) - share), dtype=np.float64)
