"""How often each photo of a training set is drawn, and weights under which its looks do not give its class away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from veriphoto_training.data.appearance import LOOKS, Looks
from veriphoto_training.data.dataset import Picture
from veriphoto_training.data.separation import out_of_fold

Chances = npt.NDArray[np.float64]

MOST: Final = 8.0
"""A photo is drawn at most this many times as often, and as rarely, as without weights."""
_SEED: Final = 0
_SURE: Final = 1e-3


def chances(pictures: Sequence[Picture], balance: float, weights: Chances | None = None) -> Chances:
    """Returns how likely each photo is to be drawn next.

    Classes alike, then sources by size ** balance, then groups alike, then the photos of a group; times ``weights``.

    Args:
        pictures: Photos of both classes.
        balance: Exponent of a source's size; see ``Recipe.balance``.
        weights: [N]; see ``look_weights``.

    Returns:
        FP64 [N], each class with a sum of one half.
    """
    # A source of several generators counts as several: half a gallery must not drown eight others.
    sources = [(one.label, f"{one.source}/{one.generator}") for one in pictures]
    groups = [(*source, one.group) for source, one in zip(sources, pictures, strict=True)]
    members = Counter(groups)
    sizes = Counter((label, source) for label, source, _ in members)
    found = np.array(
        [sizes[source] ** (balance - 1.0) / members[group] for source, group in zip(sources, groups, strict=True)]
    )
    if weights is not None:
        found = found * weights
    labels = np.array([one.label for one in pictures])
    for label in (0, 1):
        found[labels == label] *= 0.5 / max(float(found[labels == label].sum()), 1e-300)
    return found


def look_weights(pictures: Sequence[Picture], looks: Looks, balance: float, strength: float = 1.0) -> Chances:
    """Weighs photos so that a tree on their looks cannot tell the classes of what is drawn.

    The odds say how much more often a photo of such looks is drawn for one class than for the other; it is drawn
    more rarely by that. Photos whose like the other class lacks cannot be balanced: they become rare.

    Args:
        pictures: Photos of both classes.
        looks: Their looks, see ``appearance.looks``.
        balance: Exponent of a source's size; see ``Recipe.balance``.
        strength: 0 leaves every photo alone, 1 balances as far as it goes.

    Returns:
        FP64 [N], 1 / MOST to MOST before each class is scaled to its half.
    """
    labels = np.array([one.label for one in pictures], np.int64)
    groups = [one.group for one in pictures]
    side = np.where(labels == 1, 1.0, -1.0)
    drawn = chances(pictures, balance) * len(pictures)
    odds = _odds(out_of_fold(looks, labels, groups, _SEED, drawn, (len(LOOKS) - 1,)), looks, labels, drawn)
    # Half on either side: what is likelier in one class is drawn more rarely there, and more often in the other.
    weights: Chances = np.exp(strength * (-side * odds / 2.0).clip(-np.log(MOST), np.log(MOST)))
    return weights


def _odds(guess: Chances, looks: Looks, labels: npt.NDArray[np.int64], drawn: Chances) -> Chances:
    """Returns log-odds that are true on average: a tree is surer than it should be, and weights would do too much."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - heavy, and of an extra

    sure = guess.clip(_SURE, 1.0 - _SURE)
    # Beside the tree, what is linear: calibrated alone, a tree leaves a part of it.
    numbers = looks[:, :-1].astype(np.float64)
    scaled = (numbers - numbers.mean(axis=0)) / (numbers.std(axis=0) + 1e-9)
    columns = np.column_stack([np.log(sure / (1.0 - sure)), scaled])
    scale = LogisticRegression().fit(columns, labels, drawn)
    if scale.coef_[0, 0] < 0:  # the tree found nothing; turned round it would be noise
        columns = scaled
        scale.fit(columns, labels, drawn)
    found: Chances = scale.decision_function(columns)
    return found


def effective(drawn: Chances) -> float:
    """Returns how many photos drawn alike would be worth these, drawn unlike."""
    return float(drawn.sum() ** 2 / (drawn**2).sum())
