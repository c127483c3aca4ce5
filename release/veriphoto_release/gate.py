"""Compares a candidate with the champion on an evaluation set, as its pictures are and as they arrive at their worst.

The classifiers are compared alone, each at its own threshold: a second opinion is measured where it is fitted. A
difference counts as worse where it is larger than the margin *and*, for rates of few pictures, than a handful of
pictures: in a source of 20, one picture is 5 points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from veriphoto.errors import DataError, ImageError, ModelError
from veriphoto_release.candidate import Candidate, Floats
from veriphoto_release.limits import Margins
from veriphoto_training.data.dataset import Picture
from veriphoto_training.evaluation.judgement import is_product
from veriphoto_training.scoring.deliveries import ENDS, deliver
from veriphoto_training.scoring.logits import prepared
from veriphoto_training.scoring.metrics import Labels, auroc, balanced_accuracy

Track = Callable[[Sequence[Picture]], Iterable[Picture]]

_AHEAD: Final = 4
"""Pictures decoded ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Criterion:
    """One figure of both models."""

    figure: str
    pictures: int
    champion: float
    candidate: float
    allowed: float
    """How far the candidate may be worse."""
    higher_is_better: bool = True

    @property
    def worse_by(self) -> float:
        """How far the candidate is worse; negative where it is better."""
        difference = self.champion - self.candidate
        return difference if self.higher_is_better else -difference

    @property
    def holds(self) -> bool:
        """Whether it is within the margin; never where a figure is not a number for the candidate alone."""
        return bool(self.worse_by <= self.allowed + 1e-12) or bool(np.isnan(self.champion))

    def to_json(self) -> dict[str, Any]:
        """Returns the fields and the judgement as plain JSON values."""
        return {**asdict(self), "worse_by": self.worse_by, "holds": self.holds}


@dataclass(frozen=True, kw_only=True)
class ScoredByBoth:
    """Pictures that both models have scored."""

    pictures: tuple[Picture, ...]
    probabilities: tuple[Floats, ...]
    """One array for each model."""


def compare(
    champion: Candidate,
    candidate: Candidate,
    pictures: Sequence[Picture],
    *,
    margins: Margins | None = None,
    product_sources: Sequence[str] = (),
    deliveries: Sequence[str] = ENDS,
    track: Track = lambda pictures: pictures,
) -> list[Criterion]:
    """Compares two models, figure by figure in every delivery.

    Args:
        champion: The model that is served.
        candidate: The model that would replace it.
        pictures: The evaluation set.
        margins: How much worse the candidate may be; the defaults of ``Margins`` if None.
        product_sources: Patterns of the sources of real product photos; all real pictures where empty.
        deliveries: How the pictures arrive; keys of ``DELIVERIES``.
        track: Shows progress.

    Returns:
        A row for each figure and delivery.

    Raises:
        DataError: If the set cannot show the figures.
    """
    allowed = margins or Margins()
    rows: list[Criterion] = []
    for delivery in deliveries:
        scored = score_together((champion, candidate), pictures, delivery=delivery, track=track)
        points = (champion.point.threshold, candidate.point.threshold)
        found = _judge(scored, points, allowed, product_sources)
        rows += [replace(row, figure=f"{row.figure}, {delivery}") for row in found]
    return rows


def _judge(
    scored: ScoredByBoth, points: tuple[float, float], allowed: Margins, product: Sequence[str]
) -> list[Criterion]:
    labels = np.array([picture.label for picture in scored.pictures], dtype=np.int64)
    if len(set(labels.tolist())) != 2:
        raise DataError("the evaluation set needs readable pictures of both classes")
    both = list(zip(scored.probabilities, points, strict=True))
    areas = [auroc(labels, scores) for scores, _ in both]
    shares = [balanced_accuracy(labels, scores, threshold) for scores, threshold in both]
    figures = (("AUROC", areas, allowed.auroc), ("balanced accuracy", shares, allowed.balanced_accuracy))
    rows = [
        Criterion(figure=name, pictures=len(labels), champion=first, candidate=second, allowed=most)
        for name, (first, second), most in figures
    ]
    rows.append(_false_alarms(scored.pictures, both, allowed, product))
    return rows + _sources(scored.pictures, labels, both, allowed)


def require(rows: Sequence[Criterion]) -> None:
    """Refuses a candidate.

    Raises:
        ModelError: If a row does not hold, naming all that do not.
    """
    failed = [row for row in rows if not row.holds]
    if failed:
        reasons = "; ".join(
            f"{row.figure}: {row.candidate:.4f} against {row.champion:.4f} (may be worse by {row.allowed:.4f})"
            for row in failed
        )
        raise ModelError(f"the candidate is worse than the champion: {reasons}")


def score_together(
    models: Sequence[Candidate],
    pictures: Sequence[Picture],
    *,
    delivery: str = "clean",
    track: Track = lambda pictures: pictures,
) -> ScoredByBoth:
    """Scores pictures with several models, decoding each once.

    Args:
        models: Models to score with.
        pictures: Pictures to score; those that cannot be scored are left out.
        delivery: How the pictures arrive; see ``deliveries``.
        track: Shows progress.

    Returns:
        The scored pictures and their probabilities.
    """
    done: list[Picture] = []
    found: list[list[float]] = [[] for _ in models]
    for picture, made in prepared(track(pictures), partial(deliver, name=delivery), threads=1, ahead=_AHEAD):
        if isinstance(made, ImageError):
            continue
        done.append(picture)
        for model, scores in zip(models, found, strict=True):
            scores.append(float(model.score(made.crops[np.newaxis])[0]))
    return ScoredByBoth(pictures=tuple(done), probabilities=tuple(np.array(scores) for scores in found))


def _false_alarms(
    pictures: Sequence[Picture],
    both: Sequence[tuple[Floats, float]],
    margins: Margins,
    sources: Sequence[str],
) -> Criterion:
    chosen = np.array([is_product(picture, sources or ("*",)) for picture in pictures])
    if not chosen.any():
        raise DataError(f"the evaluation set has no real picture of the sources {', '.join(sources)}")
    first, second = (float((scores[chosen] >= threshold).mean()) for scores, threshold in both)
    count = int(chosen.sum())
    return Criterion(
        figure="false alarms on product photos",
        pictures=count,
        champion=first,
        candidate=second,
        allowed=max(margins.false_alarms, margins.pictures / count),
        higher_is_better=False,
    )


def _sources(
    pictures: Sequence[Picture], labels: Labels, both: Sequence[tuple[Floats, float]], margins: Margins
) -> list[Criterion]:
    rows = []
    names = np.array([f"{picture.source} ({'ai' if picture.label else 'real'})" for picture in pictures])
    right = [(scores >= threshold) == (labels == 1) for scores, threshold in both]
    for name in sorted(set(names.tolist())):
        inside = names == name
        count = int(inside.sum())
        first, second = (float(each[inside].mean()) for each in right)
        rows.append(
            Criterion(
                figure=f"right in {name}",
                pictures=count,
                champion=first,
                candidate=second,
                allowed=max(margins.source, margins.pictures / count),
            )
        )
    return rows
