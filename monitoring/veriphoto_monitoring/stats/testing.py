"""Tests one statistic of one window against its distribution in the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from veriphoto_monitoring.input.features import Floats
from veriphoto_monitoring.stats import distances
from veriphoto_monitoring.stats.distributions import Categories, Distribution, Mean, Numbers

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tested:
    """Results of one test, or of many of the same statistic: every field has the shape of the windows."""

    value: Floats
    """Kolmogorov-Smirnov distance, absolute z, or chi-square."""
    p: Floats
    upwards: npt.NDArray[np.bool_]
    """Whether values became higher; for a category, whether ``place`` became more frequent."""
    place: npt.NDArray[np.intp]
    """Cell of a number at which the gap is largest; the category that moved most; 0 for a mean."""


def summarise(found: Distribution, values: Array, coded: bool = False) -> Array:
    """Returns what a test needs of a window: counts by cell, counts by category, or the sum.

    Args:
        found: The reference's distribution.
        values: [N] of the window.
        coded: They are not numbers but already the cells of the grid.
    """
    if isinstance(found, Numbers):
        return np.bincount(values if coded else found.cells(values), minlength=found.count)
    if isinstance(found, Categories):
        return np.bincount(values.astype(np.intp), minlength=len(found.counts))
    return np.array([values.sum()])


def examine(found: Distribution, summary: Array, images: int) -> Tested:
    """Tests windows of ``images`` images.

    Args:
        found: The reference's distribution.
        summary: [..., C] as ``summarise`` gives it; whatever stands before the last axis are windows.
        images: Size of each window.
    """
    if isinstance(found, Numbers):
        gap = distances.gap(summary, found.lower, found.upper)
        p = distances.gap_p(gap.distance / found.inflation, images, found.size)
        return Tested(gap.distance, p, ~gap.above, gap.place)
    if isinstance(found, Mean):
        z = distances.mean_z(summary[..., 0], images, found.mean, found.variance, found.size)
        return Tested(np.abs(z), distances.mean_p(z / found.inflation), z > 0, np.zeros(z.shape, dtype=np.intp))
    p = distances.table_p(summary, found.counts)
    value = distances.table_value(p, len(found.counts))
    expected = found.counts / found.counts.sum() * images
    residual = (summary - expected) / np.sqrt(expected + 1.0)
    place = np.abs(residual).argmax(axis=-1)
    upwards = np.take_along_axis(residual, place[..., None], axis=-1)[..., 0] > 0
    inflated = distances.table_tail(value / found.inflation**2, len(found.counts)) if found.inflation > 1.0 else p
    return Tested(value, inflated, upwards, place)
