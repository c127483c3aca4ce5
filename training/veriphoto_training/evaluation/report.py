"""An evaluation as plain values: three deliveries, one frozen threshold, tables by generator and source."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from veriphoto.contract import CONTRACT
from veriphoto.manifest import Findings
from veriphoto.verdict import OperatingPoint, decide
from veriphoto_training.data.dataset import LABELS, Picture
from veriphoto_training.evaluation.evidence_check import EvidenceCheck
from veriphoto_training.evaluation.figure import Figure
from veriphoto_training.evaluation.intervals import independent, share
from veriphoto_training.evaluation.judgement import Flags, is_product, judge
from veriphoto_training.scoring import metrics
from veriphoto_training.scoring.logits import Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """Figures of all pictures in one delivery."""

    pictures: int
    failed: int
    figures: dict[str, Figure]
    """By name: those of ``judge``, what becomes of the verdicts, and nothing that has no value here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRow:
    """Pictures of one generator or one source."""

    name: str
    label: str
    pictures: int
    groups: int
    flagged: dict[str, Figure]
    """Share on the AI side of the threshold, by delivery: found for AI, false alarms for real."""
    auroc: dict[str, float]
    """Against all pictures of the other class, by delivery."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """A picture on the wrong side of the threshold, as it is."""

    path: str
    label: str
    source: str
    generator: str
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Everything an evaluation found."""

    model: str
    data: str
    part: str
    fingerprint: str
    trained_on: bool
    """Whether these pictures are the model's training data."""
    point: OperatingPoint
    product_sources: tuple[str, ...]
    deliveries: dict[str, Delivery]
    generators: tuple[GroupRow, ...]
    sources: tuple[GroupRow, ...]
    evidence: EvidenceCheck | None
    mistakes: tuple[Mistake, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        return asdict(self)

    def flat(self) -> dict[str, float]:
        """Returns the figures of all deliveries as one mapping, for MLflow."""
        found = {
            f"{name}_{figure}": value.value
            for name, delivery in self.deliveries.items()
            for figure, value in delivery.figures.items()
        }
        if self.evidence:
            found |= {"evidence_rate": self.evidence.rate.value, "evidence_control": self.evidence.control.value}
        return found


def measure(scores: Mapping[str, Scores], findings: Findings, product_sources: Sequence[str]) -> dict[str, Delivery]:
    """Computes the figures of all deliveries.

    Args:
        scores: Calibrated logits, by delivery.
        findings: Their threshold is used everywhere but in the TPR figures that name a false-alarm rate.
        product_sources: Patterns of the real sources that are product photos.

    Returns:
        The figures with 95 % intervals, groups drawn whole.
    """
    found = {}
    for name, one in scores.items():
        product = np.array([is_product(picture, product_sources) for picture in one.pictures], dtype=bool)
        figures = {
            key: figure
            for key, figure in judge(one, findings.operating_point.threshold, product).items()
            if not math.isnan(figure.value) and (product.any() or "product" not in key)
        }
        figures |= _verdicts(one, product, findings.operating_point)
        found[name] = Delivery(pictures=len(one.pictures), failed=len(one.failed), figures=figures)
    return found


def tabulate(scores: Mapping[str, Scores], threshold: float, key: Callable[[Picture], str]) -> tuple[GroupRow, ...]:
    """Makes a table with a row for each generator or source.

    Args:
        scores: Calibrated logits, by delivery.
        threshold: Probability from which a picture counts as AI-generated.
        key: Name of the row a picture belongs to; empty for none.

    Returns:
        The rows, AI first, each class from worst to best in the first delivery.
    """
    first = next(iter(scores))
    members: dict[tuple[int, str], set[str]] = defaultdict(set)
    groups: dict[tuple[int, str], set[str]] = defaultdict(set)
    for picture in scores[first].pictures:
        if key(picture):
            members[picture.label, key(picture)].add(picture.path)
            groups[picture.label, key(picture)].add(picture.group)
    rows = []
    for (label, name), paths in members.items():
        count = len(groups[label, name])
        flagged, areas = {}, {}
        for delivery, one in scores.items():
            probabilities = metrics.sigmoid(one.logits)
            inside = np.array([picture.path in paths for picture in one.pictures], dtype=bool)
            if not inside.any():
                continue
            worth = independent([picture.group for picture in one.pictures if picture.path in paths])
            flagged[delivery] = share(float((probabilities[inside] >= threshold).mean()), worth)
            against = inside | (one.labels != label)
            areas[delivery] = metrics.auroc(one.labels[against], probabilities[against])
        rows.append(
            GroupRow(name=name, label=LABELS[label], pictures=len(paths), groups=count, flagged=flagged, auroc=areas)
        )
    return tuple(sorted(rows, key=lambda row: _badness(row, first)))


def worst_mistakes(scores: Scores, threshold: float, count: int) -> tuple[Mistake, ...]:
    """Lists the most confident mistakes.

    Args:
        scores: Calibrated logits of the unmodified pictures.
        threshold: Probability from which a picture counts as AI-generated.
        count: Largest number of mistakes of each class.

    Returns:
        False alarms, the most confident first, then misses.
    """
    probabilities = metrics.sigmoid(scores.logits)
    order = np.argsort(probabilities, kind="stable")
    alarms = [int(i) for i in order[::-1] if scores.labels[i] == 0 and probabilities[i] >= threshold]
    misses = [int(i) for i in order if scores.labels[i] == 1 and probabilities[i] < threshold]
    return tuple(
        Mistake(
            path=scores.pictures[index].path,
            label=LABELS[scores.pictures[index].label],
            source=scores.pictures[index].source,
            generator=scores.pictures[index].generator,
            probability=float(probabilities[index]),
        )
        for index in [*alarms[:count], *misses[:count]]
    )


def _verdicts(scores: Scores, product: Flags, point: OperatingPoint) -> dict[str, Figure]:
    verdicts = np.array(
        [
            decide(
                float(probability), dict(zip(CONTRACT.statistics, map(float, statistics), strict=True)), point
            ).verdict
            for probability, statistics in zip(metrics.sigmoid(scores.logits), scores.statistics, strict=True)
        ]
    )
    unsure, flagged = verdicts == "unsure", verdicts == CONTRACT.labels[1]
    figures = {"unsure": share(float(unsure.mean()), independent(scores.groups))}
    if product.any():
        worth = independent([group for group, one in zip(scores.groups, product, strict=True) if one])
        figures["red_flags_product"] = share(float(flagged[product].mean()), worth)
    return figures


def _badness(row: GroupRow, delivery: str) -> tuple[int, float]:
    value = row.flagged[delivery].value
    return (0, value) if row.label == LABELS[1] else (1, -value)
