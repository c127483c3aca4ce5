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

from veriphoto_training.data.facts import METADATA
from veriphoto_training.data.separation import Features, Scores, out_of_fold
from veriphoto_training.scoring.metrics import Labels, auroc

_SHOWN: Final = 8
_TABLES: Final = "table"


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
    return Separation(out_of_fold(features, labels, groups, seed), _single(features, labels))


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
