"""How well the looks of photos tell the classes apart in what training draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from veriphoto_training.audit.result import LooksFound, Shortcut
from veriphoto_training.data.appearance import LOOKS, Content, Looks, Track, looks
from veriphoto_training.data.balancing import Chances, chances, effective, look_weights
from veriphoto_training.data.dataset import LABELS, Picture
from veriphoto_training.data.separation import Labels, out_of_fold
from veriphoto_training.evaluation.figure import Indices
from veriphoto_training.evaluation.intervals import estimate
from veriphoto_training.scoring.metrics import auroc

_SEED: Final = 1000
"""Other folds than those that the weights were fitted on."""


def judge_looks(pictures: Sequence[Picture], balance: float, content: Content | None, track: Track) -> LooksFound:
    """Measures looks, drawn without weights and with them.

    Args:
        pictures: Photos of both classes, at least ``FOLDS`` groups each.
        balance: Exponent of a source's size; see ``Recipe.balance``.
        content: See ``appearance.looks``.
        track: Shows progress.
    """
    found = looks(pictures, content, track)
    labels = np.array([one.label for one in pictures], np.int64)
    groups = [one.group for one in pictures]
    draws = chances(pictures, balance), chances(pictures, balance, look_weights(pictures, found, balance))
    plain, balanced = (_shortcut(found, labels, groups, drawn) for drawn in draws)
    worth, left = ({name: effective(drawn[labels == label]) for label, name in enumerate(LABELS)} for drawn in draws)
    return LooksFound(plain=plain, balanced=balanced, pictures=worth, balanced_pictures=left)


def _shortcut(found: Looks, labels: Labels, groups: Sequence[str], drawn: Chances) -> Shortcut:
    scores = out_of_fold(found, labels, groups, _SEED, drawn * len(labels), (len(LOOKS) - 1,))
    columns = {}
    for index, name in enumerate(LOOKS[:-1]):
        figure = auroc(labels, found[:, index].astype(np.float64), drawn)
        columns[name] = max(figure, 1.0 - figure)

    def figure_of(chosen: Indices) -> float:
        return auroc(labels[chosen], scores[chosen], drawn[chosen])

    return Shortcut(auroc=estimate(groups, figure_of), columns=dict(sorted(columns.items(), key=lambda item: -item[1])))
