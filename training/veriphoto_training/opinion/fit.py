"""Fits a second opinion: scores all pictures, fits the probe on all, measures it on sources left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from veriphoto.errors import DataError
from veriphoto.second_opinion import SecondOpinion
from veriphoto.verdict import OperatingPoint
from veriphoto_training.data.dataset import Picture
from veriphoto_training.data.splits import matches
from veriphoto_training.opinion.looks import Look, Looks, Track, look_at
from veriphoto_training.opinion.probe import FOLDS, choose_settings, fit_probe, require_sources
from veriphoto_training.opinion.rule import MISSED, Sample, assemble, fit_rule, weighted_quantile
from veriphoto_training.scoring.metrics import sigmoid

DELIVERIES: Final = ("clean", "mixed")
_SOURCES: Final = 2 * FOLDS
"""Fewest sources of each class: with fewer, a fold without its source says nothing about unseen ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Patterns of source names that say what a picture may be used for."""

    product: Sequence[str]
    """Sources of product photos: the real ones set the cut of ``ai_generated``."""
    learned: Sequence[str]
    """Sources that the classifier has learned from: its scores there say nothing about unseen pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A fitted second opinion and the classifier's cuts that go with it."""

    opinion: SecondOpinion
    first_point: OperatingPoint
    """Both cuts of the classifier alone, for servers that ask nobody else."""
    pictures: int


def fit_opinion(
    pictures: Sequence[Picture],
    roles: Roles,
    looks: Sequence[Look],
    *,
    identity: str,
    point: OperatingPoint,
    cache: Path,
    track: Track = lambda pictures: pictures,
) -> Fitted:
    """Fits a version's second opinion.

    Args:
        pictures: Pictures of both classes and many sources.
        roles: Says which sources may be used for what.
        looks: Both models, from ``looks.open_looks``.
        identity: Identity of the encoder.
        point: The classifier's present operating point; its threshold stays.
        cache: Directory for the scores and features of these two models.
        track: Shows progress.

    Raises:
        DataError: If there are too few sources or product photos.
    """
    seen = [look_at(pictures, delivery, looks, cache, track) for delivery in DELIVERIES]
    common = set.intersection(*({picture.path for picture in look.pictures} for look in seen))
    seen = [_only(look, common) for look in seen]
    _require(seen[0], roles)
    settings, scores = choose_settings(seen)
    sources = [picture.source for picture in seen[0].pictures]
    product = np.array([matches([source], roles.product) for source in sources])
    unseen = np.array([not matches([source], roles.learned) for source in sources])
    samples = [
        Sample(looks=look, second=score, product=product, unseen=unseen)
        for look, score in zip(seen, scores, strict=True)
    ]
    opinion = assemble(fit_probe(seen, settings), fit_rule(samples), samples, identity)
    return Fitted(
        opinion=opinion,
        first_point=_two_cuts(point, samples),
        pictures=len(sources),
    )


def _two_cuts(point: OperatingPoint, samples: Sequence[Sample]) -> OperatingPoint:
    """Lowers the classifier's cut of ``real`` to where few AI pictures of unseen sources fall under it."""
    cuts = []
    for sample in samples:
        ai = (sample.labels == 1) & sample.unseen
        cuts.append(weighted_quantile(sample.looks.first[ai], sample.weights[ai], MISSED))
    low = float(sigmoid(np.array([min(cuts)]))[0])
    return replace(point, unsure_low=min(low, point.threshold), unsure_high=point.threshold)


def _require(looks: Looks, roles: Roles) -> None:
    require_sources(looks, _SOURCES)
    real = [picture.source for picture in looks.pictures if picture.label == 0]
    if not any(matches([source], roles.product) for source in real):
        raise DataError("no real product photos; name their sources with --product-source")
    ai = [picture.source for picture in looks.pictures if picture.label == 1]
    if all(matches([source], roles.learned) for source in ai):
        raise DataError("the classifier learned from every AI source; add pictures that it has not seen")


def _only(looks: Looks, paths: set[str]) -> Looks:
    keep = [index for index, picture in enumerate(looks.pictures) if picture.path in paths]
    return Looks(
        delivery=looks.delivery,
        pictures=tuple(looks.pictures[index] for index in keep),
        features=looks.features[keep],
        first=looks.first[keep],
        statistics=looks.statistics[keep],
    )
