"""The figures of one delivery, at a threshold that was fixed beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from veriphoto_training.data.dataset import Picture
from veriphoto_training.data.splits import matches
from veriphoto_training.evaluation.figure import Figure, Indices
from veriphoto_training.evaluation.intervals import estimate, independent, rarer_class, share
from veriphoto_training.scoring.logits import Scores
from veriphoto_training.scoring.metrics import auroc, balanced_accuracy, ece, sigmoid, tpr_at_fpr

Flags = npt.NDArray[np.bool_]


def is_product(picture: Picture, patterns: Sequence[str]) -> bool:
    """Tells whether a picture is a real product photo."""
    return not picture.label and matches([picture.source], patterns)


def judge(scores: Scores, threshold: float, product: Flags) -> dict[str, Figure]:
    """Judges pictures that the model has not seen.

    Args:
        scores: Calibrated logits.
        threshold: Probability from which a picture counts as AI-generated.
        product: [N], which ones are real product photos.

    Returns:
        The figures with 95 % intervals, groups drawn whole; NaN where there is nothing to judge by.
    """
    labels, p = scores.labels, sigmoid(scores.logits)

    def found(rate: float, real: Flags) -> Callable[[Indices], float]:
        return lambda i: tpr_at_fpr(p[i][labels[i] == 1], p[i][real[i]], rate)

    def of(chosen: Flags) -> float:
        return independent([group for group, one in zip(scores.groups, chosen, strict=True) if one])

    def flagged(chosen: Flags) -> Figure:
        return share(float((p[chosen] >= threshold).mean()) if chosen.any() else float("nan"), of(chosen))

    ai, both = of(labels == 1), rarer_class(labels, scores.groups)
    # With the number of independent pictures that each rests on.
    parts: dict[str, tuple[Callable[[Indices], float], float]] = {
        "auroc": (lambda i: auroc(labels[i], p[i]), both),
        "balanced_accuracy": (lambda i: balanced_accuracy(labels[i], p[i], threshold), both),
        "tpr_at_1%_fpr": (found(0.01, labels == 0), ai),
        "tpr_at_2%_fpr": (found(0.02, labels == 0), ai),
        "tpr_at_2%_product_fpr": (found(0.02, product), ai),
        "ece": (lambda i: ece(labels[i], p[i]), of(labels >= 0)),
    }
    figures = {key: estimate(scores.groups, figure, trials) for key, (figure, trials) in parts.items()}
    figures |= {"tpr": flagged(labels == 1), "fpr": flagged(labels == 0), "fpr_product": flagged(product)}
    if not (product != (labels == 0)).any():  # the same figures, twice
        del figures["fpr_product"], figures["tpr_at_2%_product_fpr"]
    return figures
