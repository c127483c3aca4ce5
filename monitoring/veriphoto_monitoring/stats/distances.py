"""Distances between a window and its reference, and how unlikely they are when nothing has moved.

Pure functions of counts, for one window or for many at once: whatever stands before the last axis is kept. Only
``scipy.special`` is used, which needs a fifth of the memory of ``scipy.stats``; tests hold it to ``scipy.stats``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

_EXPECTED: Final = 5.0
"""Least expected count of a cell of a chi-square test: Cochran's rule."""
_TINY: Final = 1e-300


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest gap between two distribution functions."""

    distance: Floats
    """Kolmogorov-Smirnov distance, 0..1."""
    above: npt.NDArray[np.bool_]
    """Whether the window's function lies above the reference's there: its values are lower."""
    place: npt.NDArray[np.intp]
    """Index on the last axis at which the gap is largest."""


def gap(counts: Array, lower: Floats, upper: Floats) -> Gap:
    """Measures the Kolmogorov-Smirnov distance.

    Args:
        counts: [..., C] values of the window in each of C cells, in ascending order.
        lower: [C] least value that the reference's distribution function may have at each cell's end.
        upper: [C] greatest; equal to ``lower`` where the function is known.

    Returns:
        The gap, 0 where the window lies between the bounds.
    """
    function = np.cumsum(counts, axis=-1) / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    excess, lack = function - upper, lower - function
    largest = np.maximum(excess, lack)
    place = largest.argmax(axis=-1)
    at = place[..., None]
    distance = np.maximum(np.take_along_axis(largest, at, axis=-1)[..., 0], 0.0)
    above = (np.take_along_axis(excess, at, axis=-1) > np.take_along_axis(lack, at, axis=-1))[..., 0]
    return Gap(distance, above, place)


def gap_p(distance: Floats, n: Array | float, m: float) -> Floats:
    """Returns the p-value of a Kolmogorov-Smirnov distance.

    Kolmogorov's limit with Stephens' correction for finite samples; cautious where values repeat.

    Args:
        distance: As ``gap`` gives it.
        n: Size of the window.
        m: Size of the reference.
    """
    return np.asarray(special.kolmogorov(distance * _scale(n, m)))


def gap_threshold(alpha: float, n: float, m: float) -> float:
    """Returns the Kolmogorov-Smirnov distance whose p-value is ``alpha``."""
    return float(special.kolmogi(alpha) / _scale(n, m))


def mean_z(total: Array, n: Array | float, mean: float, variance: float, m: float) -> Floats:
    """Measures how far a mean has moved.

    Args:
        total: Sum over the window.
        n: Size of the window.
        mean: The reference's mean.
        variance: The reference's variance.
        m: Size of the reference.

    Returns:
        The difference of means in its standard errors, with its sign.
    """
    return np.asarray((total / n - mean) / np.sqrt(max(variance, _TINY) * (1.0 / n + 1.0 / m)))


def mean_p(z: Floats) -> Floats:
    """Returns the two-sided p-value of ``mean_z``."""
    return np.asarray(2.0 * special.ndtr(-np.abs(z)))


def mean_threshold(alpha: float) -> float:
    """Returns the absolute z whose p-value is ``alpha``."""
    return float(-special.ndtri(alpha / 2.0))


def table_p(counts: Array, reference: Array) -> Floats:
    """Returns the p-value of a table of categories: a window against its reference.

    A chi-square test over the categories that are common enough for it, the rare ones together as one cell. Each rare
    one is also tested alone: given how many there are in window and reference together, the window's is binomial.
    The smallest p-value counts, times the number of tests made.

    Args:
        counts: [..., k] window.
        reference: [k] reference.
    """
    counts = np.asarray(counts, dtype=np.float64)
    n, m = counts.sum(axis=-1, keepdims=True), float(reference.sum())
    pooled = counts + reference
    expected = pooled * n / (n + m)
    rare = expected < _EXPECTED
    rest = np.where(rare, pooled, 0.0).sum(axis=-1, keepdims=True)
    cells = np.concatenate([np.where(rare, 0.0, pooled), np.where(rest * n / (n + m) >= _EXPECTED, rest, 0.0)], axis=-1)
    seen = np.concatenate([counts, np.where(rare, counts, 0.0).sum(axis=-1, keepdims=True)], axis=-1)
    wanted = cells * n / (n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(cells > 0, (seen - wanted) ** 2 / wanted * (n + m) / m, 0.0)
    freedom = np.maximum((cells > 0).sum(axis=-1) - 1, 0)
    common = np.where(freedom > 0, special.chdtrc(np.maximum(freedom, 1), terms.sum(axis=-1)), 1.0)
    share = n / (n + m)
    tail = np.minimum(_at_least(counts, pooled, share), _at_least(pooled - counts, pooled, 1.0 - share))
    alone = np.where(rare, np.minimum(2.0 * tail, 1.0), 1.0)
    tests = (freedom > 0) + (rare & (pooled > 0)).sum(axis=-1)
    return np.asarray(np.minimum(1.0, np.minimum(common, alone.min(axis=-1)) * np.maximum(tests, 1)))


def table_value(p: Floats, categories: int) -> Floats:
    """Returns the chi-square value of ``categories`` - 1 degrees of freedom whose p-value is ``p``."""
    return np.asarray(special.chdtri(categories - 1, np.clip(p, _TINY, 1.0)))


def table_tail(value: Floats, categories: int) -> Floats:
    """Returns the p-value of ``table_value``."""
    return np.asarray(special.chdtrc(categories - 1, value))


def _at_least(counts: Array, total: Array, share: Array) -> Floats:
    """Returns the binomial probability of so many or more of ``total``; totals may be fractions."""
    found = special.betainc(np.maximum(counts, 1e-9), np.maximum(total - counts, 0.0) + 1.0, share)
    return np.asarray(np.where(counts > 0, found, 1.0))


def _scale(n: Array | float, m: float) -> Any:
    root = np.sqrt(np.asarray(n * m) / (n + m))
    return root + 0.12 + 0.11 / root
