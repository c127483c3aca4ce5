"""Fits what turns raw logits into answers: temperature and bias, threshold, unsure band, drift reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CONTRACT, FORMATS
from veriphoto.errors import DataError
from veriphoto.manifest import Calibration, DriftReference, Findings, Lineage
from veriphoto.verdict import OperatingPoint, decide
from veriphoto_training.scoring.logits import Scores
from veriphoto_training.scoring.metrics import (
    Floats,
    Labels,
    auroc,
    class_weights,
    ece,
    rates,
    sigmoid,
    threshold_at_fpr,
)

FALSE_ALARMS: Final[dict[str, float]] = {"clean": 0.02, "web": 0.03, "hard": 0.04}
"""False-alarm rate on real product photos that no delivery may exceed."""
BAND: Final = (2.0, 0.5)
"""The unsure band, in multiples of those rates: from the threshold of twice as many alarms to that of half as many."""
MIN_SIDE: Final = 96.0
"""Pictures with a shorter side than this are enlarged more than twofold, which leaves little to judge."""
_BINS: Final = 20
_LEVELS: Final = tuple(level / 50 for level in range(51))
"""Two points apart: what a test on quantiles can miss of a distance, and about the error of a thousand pictures."""


def fit_calibration(labels: Labels, logits: Floats, rounds: int = 50) -> Calibration:
    """Fits temperature and bias by maximum likelihood, classes weighted alike.

    Args:
        labels: Class indices of held-out pictures.
        logits: Their raw logits.
        rounds: Number of Newton steps.

    Returns:
        The calibration.

    Raises:
        DataError: If logits do not rise with the label, so that no temperature fits.
    """
    weights = class_weights(labels)
    slope, bias = 1.0, 0.0
    for _ in range(rounds):
        p = sigmoid(slope * logits + bias)
        error = weights * (p - labels)
        # A faint pull of the slope towards 1 keeps it finite where held-out pictures are told apart perfectly.
        gradient = np.array([(error * logits).sum() + 1e-2 * (slope - 1.0), error.sum()])
        curve = weights * p * (1.0 - p) + 1e-9
        mixed = (curve * logits).sum()
        hessian = np.array([[(curve * logits**2).sum() + 1e-2, mixed], [mixed, curve.sum() + 1e-6]])
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 1.0 / max(1e-12, float(np.abs(step).max())))
        slope, bias = slope - step[0], bias - step[1]
    if slope <= 0.0:
        raise DataError("the network's logits do not rise with the label on the held-out pictures; train longer")
    return Calibration(temperature=float(1.0 / slope), bias=float(bias))


def calibrated(logits: Floats, calibration: Calibration) -> Floats:
    """Returns probabilities."""
    return sigmoid(_calibrated_logits(logits, calibration))


def _calibrated_logits(logits: Floats, calibration: Calibration) -> Floats:
    return logits / calibration.temperature + calibration.bias


def operating_point(product: Sequence[Mapping[str, Floats]], blockiness: Floats) -> OperatingPoint:
    """Sets threshold and unsure band from probabilities of real product photos alone.

    Args:
        product: Probabilities of real product photos by delivery, of one set of photos or of several.
        blockiness: Blockiness of the pictures in the hardest delivery.

    Returns:
        The lowest threshold that keeps every delivery of every set within ``FALSE_ALARMS``, and its band.
    """

    def at(factor: float) -> float:
        limits = [
            threshold_at_fpr(found, FALSE_ALARMS[name] * factor) for photos in product for name, found in photos.items()
        ]
        return float(np.clip(max(limits), 0.0, 1.0))

    threshold = at(1.0)
    return OperatingPoint(
        model_version=0,
        threshold=threshold,
        unsure_low=min(at(BAND[0]), threshold),
        unsure_high=max(at(BAND[1]), threshold),
        min_side=MIN_SIDE,
        max_blockiness=float(np.quantile(blockiness, 0.999)) if len(blockiness) else 1e9,
    )


def drift_reference(logits: Floats, statistics: npt.NDArray[np.float32], point: OperatingPoint) -> DriftReference:
    """Describes the answers to ordinary held-out pictures, and the pictures.

    Args:
        logits: Calibrated logits [n].
        statistics: The pictures' statistics [n, len(Contract.statistics)].
        point: Operating point that the verdicts are made at.
    """
    probabilities = sigmoid(logits)
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    histogram, _ = np.histogram(probabilities, edges)
    named = [dict(zip(CONTRACT.statistics, map(float, row), strict=True)) for row in statistics]
    verdicts = [decide(float(p), one, point).verdict for p, one in zip(probabilities, named, strict=True)]
    numbers: dict[str, Floats] = dict(zip(CONTRACT.statistics, statistics.T.astype(np.float64), strict=True))
    formats = [FORMATS[int(value)] for value in numbers.pop("format")]
    numbers["logit"] = logits
    return DriftReference(
        score_edges=[float(edge) for edge in edges],
        score_counts=[int(count) for count in histogram],
        quantile_levels=list(_LEVELS),
        statistics={
            # Values that occur, so that the share below and up to each are bounds and no estimates.
            name: [float(value) for value in np.quantile(values, _LEVELS, method="inverted_cdf")]
            for name, values in numbers.items()
        },
        counts={"verdict": dict(Counter(verdicts)), "format": dict(Counter(formats))},
        moments={"probability": [float(probabilities.mean()), float(probabilities.var())]},
    )


def find(
    scores: Mapping[str, Scores], product: Sequence[Mapping[str, Scores]], metadata: Mapping[str, Any]
) -> Findings:
    """Makes a run's findings from held-out pictures.

    Args:
        scores: Held-out pictures of both classes, by delivery; calibration is fitted on all deliveries together.
        product: Sets of real product photos for the threshold, each by delivery.
        metadata: Metadata of the checkpoint.

    Returns:
        What ``findings.json`` holds.
    """
    labels = np.concatenate([part.labels for part in scores.values()])
    calibration = fit_calibration(labels, np.concatenate([part.logits for part in scores.values()]))
    hardest = list(scores.values())[-1]
    point = operating_point(
        [{name: calibrated(part.logits, calibration) for name, part in photos.items()} for photos in product],
        hardest.statistics[:, CONTRACT.statistics.index("blockiness")].astype(np.float64),
    )
    metrics: dict[str, float] = {}
    for name, part in scores.items():
        p = calibrated(part.logits, calibration)
        found, alarms = rates(part.labels, p, point.threshold)
        figures = {"auroc": auroc(part.labels, p), "ece": ece(part.labels, p), "tpr": found, "fpr": alarms}
        metrics.update({f"{name}_{key}": round(value, 5) for key, value in figures.items()})
    clean = scores["clean"]
    return Findings(
        calibration=calibration,
        operating_point=point,
        metrics=metrics,
        drift_reference=drift_reference(_calibrated_logits(clean.logits, calibration), clean.statistics, point),
        lineage=Lineage(
            run_id=str(metadata["run_id"]),
            recipe=str(metadata["recipe"]["name"]),
            seed=int(metadata["seed"]),
            data_fingerprint=str(metadata["data_fingerprint"]),
            weights=str(metadata["weights"]),
        ),
    )


def pictures_needed(rate: float, confidence: float = 0.95) -> int:
    """Returns how many real pictures without one alarm prove a false-alarm rate of at most ``rate``."""
    return math.ceil(math.log(1.0 - confidence) / math.log(1.0 - rate))


def only(scores: Scores, keep: Sequence[bool]) -> Scores:
    """Returns the chosen pictures' scores."""
    mask = np.asarray(keep, bool)
    return Scores(
        pictures=tuple(picture for picture, chosen in zip(scores.pictures, keep, strict=True) if chosen),
        logits=scores.logits[mask],
        statistics=scores.statistics[mask],
        failed=scores.failed,
    )
