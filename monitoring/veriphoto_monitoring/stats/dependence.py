"""How far from independent the pictures of a period are.

A seller uploads a series, a shop its catalogue: neighbours are alike, and windows differ from the whole by more than
windows of independent pictures would. Thresholds for independent pictures would cry wolf. So windows of the period in
its order are held against windows of the same pictures shuffled, and thresholds grow by as much as the former lie
further away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from veriphoto_monitoring.input.features import MONITORED, Floats
from veriphoto_monitoring.stats.distributions import Categories, Distribution, Mean, Numbers, Reference
from veriphoto_monitoring.stats.testing import examine

LENGTHS: Final = (250, 1000)
"""Pictures in a window: short ones are many and measure series well, long ones see what lasts longer."""
LEAST_WINDOWS: Final = 8
_SHUFFLES: Final = 2
_CERTAIN: Final = 2.5
"""Standard errors by which windows must lie further away before a threshold grows."""


def with_inflation(reference: Reference, rows: Floats) -> Reference:
    """Returns the reference with the ``inflation`` of each distribution measured.

    Args:
        reference: Made of ``rows``.
        rows: [N, WIDTH] in the order in which they came; fewer than ``LEAST_WINDOWS`` windows tell nothing.
    """
    rng = np.random.default_rng(0)
    orders = [np.arange(len(rows)), *(rng.permutation(len(rows)) for _ in range(_SHUFFLES))]
    measured = {
        each.name: replace(found, inflation=_inflation(found, rows[:, each.index], orders))
        for each in MONITORED
        if (found := reference.distributions.get(each.name))
    }
    return replace(reference, distributions={**reference.distributions, **measured})


def _inflation(found: Distribution, values: Floats, orders: list[npt.NDArray[np.int64]]) -> float:
    coded = found.cells(values) if isinstance(found, Numbers) else values
    lengths = [length for length in LENGTHS if len(values) // length >= LEAST_WINDOWS]
    return max(
        (_ratio(*(_distances(found, coded[order], length) for order in orders)) for length in lengths), default=1.0
    )


def _ratio(ordered: Floats, *shuffled: Floats) -> float:
    mixed = np.concatenate(shuffled)
    usual = float(mixed.mean())
    if usual <= 0.0:
        return 1.0
    ratio = float(ordered.mean()) / usual
    error = float(mixed.std()) / usual * float(np.sqrt(1.0 / len(ordered) + 1.0 / len(mixed)))
    # One standard error more, for half of all estimates are too low.
    return ratio * (1.0 + error) if ratio > 1.0 + _CERTAIN * error else 1.0


def _distances(found: Distribution, coded: npt.NDArray[Any], length: int) -> Floats:
    windows = len(coded) // length
    coded = coded[: windows * length]
    if isinstance(found, Mean):
        summary = coded.reshape(windows, length).sum(axis=1, keepdims=True)
    else:
        size = found.count if isinstance(found, Numbers) else len(found.counts)
        number = np.repeat(np.arange(windows), length)
        cells = number * size + coded.astype(np.intp)
        summary = np.bincount(cells, minlength=windows * size).reshape(windows, size)
    value = examine(found, summary, length).value
    # A chi-square value grows with the square of a distance.
    return np.asarray(np.sqrt(value) if isinstance(found, Categories) else value)
