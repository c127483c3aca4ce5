"""Tells the classes apart by a few numbers a picture, with trees that never saw the picture or its group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from veriphoto.errors import DataError

FOLDS: Final = 5
_ROUNDS: Final = 100
_LEAF: Final = (2, 20)
"""Bounds of the fewest pictures in a leaf; scikit-learn's 20 would keep a small set from being split at all."""

Features = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def out_of_fold(
    features: Features,
    labels: Labels,
    groups: Sequence[str],
    seed: int,
    weights: Scores | None = None,
    categories: Sequence[int] = (),
) -> Scores:
    """Guesses the class of every picture.

    Args:
        features: FP32 [N, D]; NaN where a picture has no such number.
        labels: [N], 1 for AI; each class has at least ``FOLDS`` groups.
        groups: [N]; pictures of one group stay on one side of every fold.
        seed: Random seed for the folds and the trees.
        weights: [N]: how much each picture counts; all alike if None.
        categories: Columns whose numbers are names.

    Returns:
        FP64 [N]: probability of AI.

    Raises:
        DataError: If a class has fewer groups than there are folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - heavy, and of an extra
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    check_classes(labels, groups)
    varies = np.ptp(np.nan_to_num(features, nan=-1.0), axis=0) > 0
    # Most entries of quantisation tables never vary; looking at them over and over is most of the work.
    varied = features[:, varies]
    if not varied.shape[1]:
        return np.full(len(labels), 0.5)
    named = [position for position, column in enumerate(np.flatnonzero(varies)) if column in categories]
    scores = np.zeros(len(labels), dtype=np.float64)
    leaf = int(np.clip(len(labels) // 40, *_LEAF))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for inside, outside in folds.split(varied, labels, groups):
        # Early stopping would split at random, groups and all; the number of rounds is fixed instead.
        tree = HistGradientBoostingClassifier(
            max_iter=_ROUNDS,
            min_samples_leaf=leaf,
            early_stopping=False,
            random_state=seed,
            categorical_features=named or None,
        )
        # One thread: the trees are small, and OpenMP's threads spin at each of them while another program has a core.
        with threadpool_limits(1):
            tree.fit(varied[inside], labels[inside], None if weights is None else weights[inside])
            scores[outside] = tree.predict_proba(varied[outside])[:, 1]
    return scores


def check_classes(labels: Labels, groups: Sequence[str]) -> None:
    """Refuses a set too small to be split.

    Raises:
        DataError: If a class has fewer groups than there are folds.
    """
    for value, name in enumerate(("real", "AI")):
        count = len({group for group, label in zip(groups, labels, strict=True) if label == value})
        if count < FOLDS:
            raise DataError(f"{count} independent {name} pictures; it takes at least {FOLDS} of each class to judge")
