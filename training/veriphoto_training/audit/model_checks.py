"""Checks the data with a model: does one more compression move its scores, and which labels does it contradict?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from veriphoto.intervals import wilson
from veriphoto_training.audit.result import Doubt, ModelFindings
from veriphoto_training.data.dataset import LABELS, Picture
from veriphoto_training.evaluation.figure import Figure, Indices
from veriphoto_training.evaluation.intervals import estimate, independent, rarer_class
from veriphoto_training.scoring.deliveries import reencode
from veriphoto_training.scoring.logits import Track, score_pictures
from veriphoto_training.scoring.metrics import Floats, Labels, balanced_accuracy, sigmoid
from veriphoto_training.scoring.scorers import Scorer

REENCODE_QUALITY: Final = 90
CONFIDENT: Final = 0.95
"""Probability of the other class from which a label is worth a second look."""


def ask_model(pictures: Sequence[Picture], scorer: Scorer, track: Track = lambda pictures: pictures) -> ModelFindings:
    """Scores every picture twice, as it is and saved once more as a JPEG.

    Args:
        pictures: Readable pictures of both classes.
        scorer: The model.
        track: Shows progress.

    Returns:
        Balanced accuracy at the model's threshold both times, their difference, and the labels it contradicts.
    """
    again = partial(reencode, longest=None, quality=REENCODE_QUALITY)
    plain = sigmoid(score_pictures(scorer.logits, pictures, track=track).logits)
    moved = sigmoid(score_pictures(scorer.logits, pictures, again, track).logits)
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    groups = [picture.group for picture in pictures]
    threshold = scorer.findings.operating_point.threshold

    def accuracy(scores: Floats, indices: Indices) -> float:
        return balanced_accuracy(labels[indices], scores[indices], threshold)

    changed = float(((plain >= threshold) != (moved >= threshold)).mean())
    return ModelFindings(
        name=scorer.name,
        threshold=threshold,
        plain=estimate(groups, lambda indices: accuracy(plain, indices), rarer_class(labels, groups)),
        reencoded=estimate(groups, lambda indices: accuracy(moved, indices), rarer_class(labels, groups)),
        shift=_shift(estimate(groups, lambda i: accuracy(moved, i) - accuracy(plain, i)), changed, groups),
        doubts=tuple(
            Doubt(path=pictures[index].path, label=LABELS[labels[index]], probability=float(plain[index]))
            for index in contradictions(plain, labels)
        ),
    )


def _shift(found: Figure, changed: float, groups: Sequence[str]) -> Figure:
    """Widens the interval by the answers that may change though none of so few pictures showed it."""
    worth = independent(groups)
    slack = wilson(changed * worth, worth)[1] - changed
    return Figure(value=found.value, low=min(found.low, found.value - slack), high=max(found.high, found.value + slack))


def contradictions(probability: Floats, labels: Labels) -> list[int]:
    """Lists the pictures that a model confidently takes for the other class, the most confident first.

    A wrong label and a wrong model look the same here; a person decides.

    Args:
        probability: FP64 [N], of AI.
        labels: [N], 1 for AI.

    Returns:
        Indices.
    """
    against = np.where(labels == 1, 1.0 - probability, probability)
    order = np.argsort(-against, kind="stable")
    return [int(index) for index in order if against[index] >= CONFIDENT]
