"""How well the classes can be told apart without looking at a picture.

A detector takes the easiest way. If format, size or compression alone separate the classes, it learns those and fails
on the first shop that compresses otherwise (Grommelt et al. 2024, arXiv 2403.17608). A gradient-boosted tree on nothing
but metadata measures how much of that way is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from veriphoto.errors import DataError
from veriphoto_training.data.facts import METADATA
from veriphoto_training.scoring.metrics import Labels, auroc

FOLDS: Final = 5
_ROUNDS: Final = 100
_LEAF: Final = (2, 20)
"""Bounds of the fewest pictures in a leaf; scikit-learn's 20 would keep a small set from being split at all."""
_SHOWN: Final = 8
_TABLES: Final = "table"

Features = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Separation:
    """What the tree reached."""

    scores: Scores
    """FP64 [N]: out-of-fold probability of AI."""
    single: dict[str, float]
    """AUROC of the strongest single columns, folded to at least 0.5; quantisation tables stand for their mean."""


def separate(features: Features, labels: Labels, groups: Sequence[str], seed: int) -> Separation:
    """Tells real from AI by metadata, each group judged by a tree that never saw it.

    Args:
        features: FP32 [N, len(METADATA)]; NaN where a file has no such field.
        labels: [N], 1 for AI.
        groups: [N]; pictures of one group stay on one side of every fold.
        seed: Random seed for the folds and the trees.

    Returns:
        Out-of-fold scores and the strongest columns.

    Raises:
        DataError: If a class has fewer groups than there are folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - heavy, and of an extra
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    check_classes(labels, groups)
    scores = np.zeros(len(labels), dtype=np.float64)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    # Most entries of quantisation tables never vary; looking at them over and over is most of the work.
    varied = features[:, np.ptp(np.nan_to_num(features, nan=-1.0), axis=0) > 0]
    if not varied.shape[1]:
        return Separation(np.full(len(labels), 0.5), _single(features, labels))
    leaf = int(np.clip(len(labels) // 40, *_LEAF))
    for inside, outside in folds.split(varied, labels, groups):
        # Early stopping would split at random, groups and all; the number of rounds is fixed instead.
        tree = HistGradientBoostingClassifier(
            max_iter=_ROUNDS, min_samples_leaf=leaf, early_stopping=False, random_state=seed
        )
        # One thread: the trees are small, and OpenMP's threads spin at each of them while another program has a core.
        with threadpool_limits(1):
            tree.fit(varied[inside], labels[inside])
            scores[outside] = tree.predict_proba(varied[outside])[:, 1]
    return Separation(scores, _single(features, labels))


def check_classes(labels: Labels, groups: Sequence[str]) -> None:
    """Refuses a set too small to be split.

    Raises:
        DataError: If a class has fewer groups than there are folds.
    """
    for value, name in enumerate(("real", "AI")):
        count = len({group for group, label in zip(groups, labels, strict=True) if label == value})
        if count < FOLDS:
            raise DataError(f"{count} independent {name} pictures; the audit needs at least {FOLDS} of each class")


def _single(features: Features, labels: Labels) -> dict[str, float]:
    columns = {name: features[:, index] for index, name in enumerate(METADATA) if _TABLES not in name}
    for kind in ("luminance", "chrominance"):
        table = features[:, [index for index, name in enumerate(METADATA) if name.startswith(f"{kind} table")]]
        columns[f"mean of {kind} table"] = table.mean(axis=1)
    found = {}
    for name, values in columns.items():
        figure = auroc(labels, np.nan_to_num(values, nan=-1.0).astype(np.float64))
        found[name] = max(figure, 1.0 - figure)
    return dict(sorted(found.items(), key=lambda item: -item[1])[:_SHOWN])
