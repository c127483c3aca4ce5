"""The probe: logistic regression on the encoder's features, judged on sources that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from veriphoto_training.opinion.looks import Looks
from veriphoto_training.scoring.metrics import auroc

Floats = npt.NDArray[np.float64]

FOLDS: Final = 5
STRENGTHS: Final = (3e-4, 1e-3, 3e-3, 1e-2)
"""Inverse regularisation, of which sources left out choose one."""
BALANCE: Final = 0.5
"""A source of n pictures weighs n ** BALANCE: neither the largest decide alone, nor those of three pictures."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear function of features."""

    weights: Floats
    """[D]."""
    bias: float

    def __call__(self, features: npt.NDArray[np.float32]) -> Floats:
        """Returns logits [n]."""
        return features.astype(np.float64) @ self.weights + self.bias


def source_weights(sources: npt.NDArray[np.str_], labels: npt.NDArray[np.int64]) -> Floats:
    """Weighs pictures so that both classes count alike, and a source by the root of its size.

    Args:
        sources: Source of each picture [n].
        labels: Class indices [n].
    """
    _, inverse, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weights: Floats = counts[inverse].astype(np.float64) ** (BALANCE - 1.0)
    for label in np.unique(labels):
        weights[labels == label] /= weights[labels == label].sum()
    return weights * len(labels) / len(np.unique(labels))


def fit_probe(looks: Sequence[Looks], strength: float, keep: npt.NDArray[np.bool_] | None = None) -> Probe:
    """Fits a probe.

    Args:
        looks: The same pictures in several deliveries.
        strength: Inverse regularisation, of features scaled to unit variance.
        keep: Mask of the pictures to fit on; all if None.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - heavy, and of an extra

    parts = [look.features if keep is None else look.features[keep] for look in looks]
    labels = looks[0].labels if keep is None else looks[0].labels[keep]
    sources = looks[0].sources if keep is None else looks[0].sources[keep]
    features = np.concatenate(parts)
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    weights = np.tile(source_weights(sources, labels), len(parts)) / len(parts)
    model = LogisticRegression(C=strength, max_iter=400, tol=1e-3)
    model.fit((features - mean) / spread, np.tile(labels, len(parts)), sample_weight=weights)
    slopes = (model.coef_[0] / spread).astype(np.float64)
    return Probe(slopes, float(model.intercept_[0] - slopes @ mean))


def folds(sources: npt.NDArray[np.str_], labels: npt.NDArray[np.int64], count: int = FOLDS) -> npt.NDArray[np.int64]:
    """Distributes whole sources over folds, so that each has about as many pictures of each class.

    Args:
        sources: Source of each picture [n].
        labels: Class indices [n].
        count: Number of folds.

    Returns:
        The fold of each picture [n].
    """
    fold = np.zeros(len(sources), np.int64)
    loads = np.zeros((count, 2))
    names, sizes = np.unique(sources, return_counts=True)
    for name in names[np.lexsort((names, -sizes))]:
        members = sources == name
        label = int(labels[members][0])
        place = int(np.argmin(loads[:, label]))
        fold[members] = place
        loads[place, label] += members.sum()
    return fold


def out_of_source(looks: Sequence[Looks], strength: float) -> list[Floats]:
    """Scores every picture with a probe that was fitted without its source.

    Args:
        looks: The same pictures in several deliveries.
        strength: Inverse regularisation.

    Returns:
        Logits [n] for each delivery.
    """
    fold = folds(looks[0].sources, looks[0].labels)
    scores = [np.zeros(len(fold)) for _ in looks]
    for number in range(FOLDS):
        out = fold == number
        probe = fit_probe(looks, strength, ~out)
        for score, look in zip(scores, looks, strict=True):
            score[out] = probe(look.features[out])
    return scores


def choose_strength(looks: Sequence[Looks]) -> tuple[float, list[Floats]]:
    """Finds the regularisation that orders pictures of unseen sources best, over all deliveries.

    Args:
        looks: The same pictures in several deliveries.

    Returns:
        The regularisation, and the scores of ``out_of_source`` with it.
    """
    tried = {strength: out_of_source(looks, strength) for strength in STRENGTHS}
    labels = looks[0].labels
    best = max(tried, key=lambda strength: sum(auroc(labels, scores) for scores in tried[strength]))
    return best, tried[best]
