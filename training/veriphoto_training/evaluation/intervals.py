"""Figures with their uncertainty."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from veriphoto.intervals import wilson
from veriphoto_training.evaluation.figure import Figure, Indices
from veriphoto_training.scoring import metrics
from veriphoto_training.scoring.metrics import Floats, Labels

_FEW: Final = 30
"""Independent pictures below which resampling them says too little."""


def independent(groups: Sequence[str]) -> float:
    """Returns how many independent pictures these are worth: near-duplicates, which share a group, count together.

    Args:
        groups: Group of every picture.
    """
    counts = np.array(list(Counter(groups).values()), np.float64)
    return float(counts.sum() ** 2 / (counts**2).sum()) if len(counts) else 0.0


def estimate(
    groups: Sequence[str], figure: Callable[[Indices], float], trials: float | None = None, rounds: int = 400
) -> Figure:
    """Gives a figure its 95 % interval, drawing whole groups (``metrics.bootstrap``).

    Args:
        groups: [N], group of every picture.
        figure: Computes the figure from the pictures with the given indices.
        trials: For a figure from 0 to 1: how many independent pictures it rests on. Where they are few, or the figure
            is 0 or 1 and no resample says otherwise, the interval is at least that of a share of so many.
        rounds: Resamples.
    """
    value = figure(np.arange(len(groups)))
    low, high = metrics.bootstrap(groups, figure, rounds=rounds)
    if trials is not None and not math.isnan(value) and (trials < _FEW or low == high or value in (0.0, 1.0)):
        least, most = wilson(value * trials, trials)
        low, high = min(low, least), max(high, most)
    return Figure(value=value, low=low, high=high)


def auroc(labels: Labels, scores: Floats, groups: Sequence[str]) -> Figure:
    """AUROC with its interval.

    Args:
        labels: [N], 1 for AI.
        scores: [N], higher for AI.
        groups: [N], group of every picture.
    """
    return estimate(
        groups, lambda indices: metrics.auroc(labels[indices], scores[indices]), rarer_class(labels, groups)
    )


def rarer_class(labels: Labels, groups: Sequence[str]) -> float:
    """Returns how many independent pictures the class is worth that has fewer: what compares both rests on those.

    Args:
        labels: [N], 1 for AI.
        groups: [N], group of every picture.
    """
    return min(
        independent([group for group, label in zip(groups, labels, strict=True) if label == value]) for value in (0, 1)
    )


def share(value: float, trials: float) -> Figure:
    """A share of independent trials, with Wilson's interval: unlike the bootstrap's it says something at 0 and 1.

    Args:
        value: The share.
        trials: How many independent trials stand behind it; see ``independent``.
    """
    low, high = wilson(value * trials, trials)
    return Figure(value=value, low=min(low, value), high=max(high, value))  # at 0 and 1 rounding may part them
