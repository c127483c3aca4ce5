"""Judges a checkpoint on pictures it has not seen: three deliveries, one frozen threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from veriphoto.manifest import Findings
from veriphoto_training.calibration.fit import calibrated
from veriphoto_training.data.dataset import Picture
from veriphoto_training.data.splits import matches
from veriphoto_training.evaluation.figure import Figure, Indices
from veriphoto_training.evaluation.intervals import estimate, independent, rarer_class, share
from veriphoto_training.scoring.logits import Scores
from veriphoto_training.scoring.metrics import (
    auroc,
    balanced_accuracy,
    ece,
    threshold_at_fpr,
    tpr_at_fpr,
)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One delivery."""

    delivery: str
    figures: dict[str, Figure]
    failed: dict[str, str] = field(default_factory=dict)


def judge_deliveries(
    scores: Mapping[str, Scores], findings: Findings, product_sources: Sequence[str] = ("*",), rounds: int = 400
) -> list[Judgement]:
    """Judges every delivery at the findings' calibration and threshold.

    Args:
        scores: Raw logits, by delivery.
        findings: The checkpoint's calibration and threshold, fixed beforehand.
        product_sources: Patterns of the real sources that count as product photos.
        rounds: Bootstrap resamples.

    Returns:
        Figures by delivery.
    """
    return [_judge(name, part, findings, product_sources, rounds) for name, part in scores.items()]


def is_product(picture: Picture, patterns: Sequence[str]) -> bool:
    """Tells whether a picture is a real product photo."""
    return not picture.label and matches([picture.source], patterns)


def _judge(name: str, scores: Scores, findings: Findings, patterns: Sequence[str], rounds: int) -> Judgement:
    labels = scores.labels
    p = calibrated(scores.logits, findings.calibration)
    threshold = findings.operating_point.threshold
    product = np.array([is_product(picture, patterns) for picture in scores.pictures], bool)

    def product_tpr(i: Indices) -> float:
        limit = threshold_at_fpr(p[i][product[i]], 0.02)
        return float((p[i][labels[i] == 1] >= limit).mean()) if labels[i].any() else float("nan")

    def of(chosen: npt.NDArray[np.bool_]) -> float:
        return independent([group for group, one in zip(scores.groups, chosen, strict=True) if one])

    def flagged(chosen: npt.NDArray[np.bool_]) -> Figure:
        return share(float((p[chosen] >= threshold).mean()) if chosen.any() else float("nan"), of(chosen))

    ai, both = of(labels == 1), rarer_class(labels, scores.groups)
    # With the number of independent pictures that each rests on.
    parts: dict[str, tuple[Callable[[Indices], float], float]] = {
        "auroc": (lambda i: auroc(labels[i], p[i]), both),
        "balanced_accuracy": (lambda i: balanced_accuracy(labels[i], p[i], threshold), both),
        "tpr_at_1%_fpr": (lambda i: tpr_at_fpr(labels[i], p[i], 0.01), ai),
        "tpr_at_2%_fpr": (lambda i: tpr_at_fpr(labels[i], p[i], 0.02), ai),
        "tpr_at_2%_product_fpr": (product_tpr, ai),
        "ece": (lambda i: ece(labels[i], p[i]), of(labels >= 0)),
    }
    figures = {key: estimate(scores.groups, figure, trials, rounds) for key, (figure, trials) in parts.items()}
    figures |= {"tpr": flagged(labels == 1), "fpr": flagged(labels == 0), "fpr_product": flagged(product)}
    if not (product != (labels == 0)).any():  # the same figures, twice
        del figures["fpr_product"], figures["tpr_at_2%_product_fpr"]
    return Judgement(delivery=name, figures=figures, failed=scores.failed)
