"""Figures of a binary detector, on plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def auroc(labels: Labels, scores: Floats, weights: Floats | None = None) -> float:
    """Area under the ROC curve: how often an AI picture scores above a real one, ties counting half.

    Args:
        labels: 1 for AI.
        scores: Of the same pictures.
        weights: How much each counts; all alike if None.
    """
    values, place = np.unique(scores, return_inverse=True)
    counts = np.ones(len(scores)) if weights is None else weights
    real, ai = (np.bincount(place, counts * (labels == label), len(values)) for label in (0, 1))
    pairs = real.sum() * ai.sum()
    return float(ai @ (np.cumsum(real) - real / 2.0) / pairs) if pairs else float("nan")


def threshold_at_fpr(real_scores: Floats, rate: float) -> float:
    """The lowest threshold at which at most ``rate`` of real pictures score at or above it."""
    if not len(real_scores):
        return float("nan")
    falling = np.sort(real_scores)[::-1]
    allowed = int(np.floor(rate * len(falling) + 1e-9))
    if allowed >= len(falling):
        return float(falling[-1])
    return float(np.nextafter(falling[allowed], np.inf))


def tpr_at_fpr(ai: Floats, real: Floats, rate: float) -> float:
    """Share of AI pictures found at the threshold of that false-alarm rate on the real ones; NaN without either."""
    return _mean(ai >= threshold_at_fpr(real, rate)) if len(real) else float("nan")


def rates(labels: Labels, scores: Floats, threshold: float) -> tuple[float, float]:
    """Returns the shares flagged of AI pictures (TPR) and of real ones (FPR)."""
    flagged = scores >= threshold
    return _mean(flagged[labels == 1]), _mean(flagged[labels == 0])


def balanced_accuracy(labels: Labels, scores: Floats, threshold: float) -> float:
    """Mean of TPR and of one minus FPR at a fixed threshold."""
    found, alarms = rates(labels, scores, threshold)
    return (found + 1.0 - alarms) / 2.0


def ece(labels: Labels, probabilities: Floats, bins: int = 15) -> float:
    """Expected calibration error over equally wide bins, classes weighted alike.

    Classes are weighted because a test set's mix is not a shop's; a model calibrated on balanced classes is judged so.
    """
    weights = class_weights(labels)
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    error = 0.0
    for number in range(bins):
        inside = index == number
        total = weights[inside].sum()
        if total > 0:
            gap = np.average(labels[inside], weights=weights[inside])
            error += total * abs(gap - np.average(probabilities[inside], weights=weights[inside]))
    return float(error / weights.sum())


def class_weights(labels: Labels) -> Floats:
    """Weights that give both classes the same total."""
    counts = np.bincount(labels, minlength=2)
    return np.array([0.5 / counts[label] for label in labels], np.float64) * len(labels)


def bootstrap(
    groups: Sequence[str],
    figure: Callable[[npt.NDArray[np.int64]], float],
    *,
    rounds: int = 400,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a figure, drawing whole groups: near-duplicates are not independent evidence.

    Args:
        groups: Group of every picture.
        figure: Computes the figure from the pictures with the given indices.
        rounds: Number of resamples.
        seed: Random seed for the resampling.

    Returns:
        The lower and the upper end.
    """
    names, inverse = np.unique(np.array(groups), return_inverse=True)
    members = [np.flatnonzero(inverse == index) for index in range(len(names))]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = rng.integers(0, len(names), len(names))
        values.append(figure(np.concatenate([members[index] for index in drawn])))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def sigmoid(logits: Floats) -> Floats:
    """The logistic function, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def _mean(flags: npt.NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
