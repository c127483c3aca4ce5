"""Judges a checkpoint on pictures it has not seen: three deliveries, one frozen threshold."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from veriphoto.manifest import Findings
from veriphoto_training.calibration.fit import calibrated
from veriphoto_training.data.dataset import Picture
from veriphoto_training.scoring.logits import Scores
from veriphoto_training.scoring.metrics import (
    auroc,
    balanced_accuracy,
    bootstrap,
    ece,
    rates,
    threshold_at_fpr,
    tpr_at_fpr,
)

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


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
    return not picture.label and any(fnmatch.fnmatchcase(picture.source, pattern) for pattern in patterns)


def _judge(name: str, scores: Scores, findings: Findings, patterns: Sequence[str], rounds: int) -> Judgement:
    labels = scores.labels
    p = calibrated(scores.logits, findings.calibration)
    threshold = findings.operating_point.threshold
    product = np.array([is_product(picture, patterns) for picture in scores.pictures], bool)

    def product_tpr(i: Indices) -> float:
        limit = threshold_at_fpr(p[i][product[i]], 0.02)
        return float((p[i][labels[i] == 1] >= limit).mean()) if labels[i].any() else float("nan")

    parts: dict[str, Callable[[Indices], float]] = {
        "auroc": lambda i: auroc(labels[i], p[i]),
        "balanced_accuracy": lambda i: balanced_accuracy(labels[i], p[i], threshold),
        "tpr": lambda i: rates(labels[i], p[i], threshold)[0],
        "fpr": lambda i: rates(labels[i], p[i], threshold)[1],
        "fpr_product": lambda i: float((p[i][product[i]] >= threshold).mean()) if product[i].any() else float("nan"),
        "tpr_at_1%_fpr": lambda i: tpr_at_fpr(labels[i], p[i], 0.01),
        "tpr_at_2%_fpr": lambda i: tpr_at_fpr(labels[i], p[i], 0.02),
        "tpr_at_2%_product_fpr": product_tpr,
        "ece": lambda i: ece(labels[i], p[i]),
    }
    everything = np.arange(len(labels))
    figures = {}
    for key, figure in parts.items():
        low, high = bootstrap(scores.groups, figure, rounds=rounds)
        figures[key] = Figure(value=figure(everything), low=low, high=high)
    return Judgement(delivery=name, figures=figures, failed=scores.failed)
