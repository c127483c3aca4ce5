"""Figures with their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from veriphoto.intervals import wilson
from veriphoto_training.evaluation.judgement import Figure, Indices
from veriphoto_training.scoring import metrics
from veriphoto_training.scoring.metrics import Floats, Labels


def estimate(groups: Sequence[str], figure: Callable[[Indices], float]) -> Figure:
    """Gives a figure its 95 % interval, drawing whole groups (``metrics.bootstrap``).

    Args:
        groups: [N], group of every picture.
        figure: Computes the figure from the pictures with the given indices.
    """
    low, high = metrics.bootstrap(groups, figure)
    return Figure(value=figure(np.arange(len(groups))), low=low, high=high)


def auroc(labels: Labels, scores: Floats, groups: Sequence[str]) -> Figure:
    """AUROC with its interval.

    Args:
        labels: [N], 1 for AI.
        scores: [N], higher for AI.
        groups: [N], group of every picture.
    """
    return estimate(groups, lambda indices: metrics.auroc(labels[indices], scores[indices]))


def share(value: float, trials: int) -> Figure:
    """A share of independent trials, with Wilson's interval: unlike the bootstrap's it says something at 0 and 1.

    Args:
        value: The share.
        trials: How many independent trials stand behind it; the number of groups where pictures are not independent.
    """
    low, high = wilson(round(value * trials), trials)
    return Figure(value=value, low=min(low, value), high=max(high, value))
