"""One parameter table for the one function that gives answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from veriphoto.contract import CONTRACT
from veriphoto.verdict import OperatingPoint, decide, frequency

POINT = OperatingPoint(
    model_version=3, threshold=0.6, unsure_low=0.4, unsure_high=0.7, min_side=128, max_blockiness=2.0
)
GOOD = {"width": 800.0, "height": 600.0, "blockiness": 1.1}


@pytest.mark.parametrize(
    ("probability", "statistics", "verdict", "prediction", "confidence", "reason"),
    [
        (0.0, {}, "real", "real", "high", ""),
        (0.15, {}, "real", "real", "medium", ""),
        (0.39, {}, "real", "real", "low", ""),
        (0.40, {}, "unsure", "real", "low", "borderline"),
        (0.65, {}, "unsure", "ai_generated", "low", "borderline"),
        (0.70, {}, "ai_generated", "ai_generated", "low", ""),
        (0.90, {}, "ai_generated", "ai_generated", "medium", ""),
        (1.0, {}, "ai_generated", "ai_generated", "high", ""),
        (1.0, {"height": 127.0}, "unsure", "ai_generated", "low", "too_small"),
        (0.0, {"width": 20.0}, "unsure", "real", "low", "too_small"),
        (1.0, {"blockiness": 2.1}, "unsure", "ai_generated", "low", "too_degraded"),
    ],
)
def test_decide(
    probability: float, statistics: dict[str, float], verdict: str, prediction: str, confidence: str, reason: str
) -> None:
    found = decide(probability, GOOD | statistics, POINT)
    assert (found.verdict, found.prediction, found.confidence, found.reason) == (
        verdict,
        prediction,
        confidence,
        reason,
    )
    assert (found.threshold, found.model_version, found.probability) == (0.6, 3, probability)


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.87), (0.4, 0.95), (0.001, 0.999)])
def test_just_over_a_cut_nothing_is_sure(low: float, high: float) -> None:
    point = replace(POINT, unsure_low=low, unsure_high=high)
    for probability in (low * 0.99, high * 1.0001):
        found = decide(probability, GOOD, point)
        assert (found.verdict != "unsure", found.confidence) == (True, "low")


def test_the_operating_point_survives_its_tensor() -> None:
    values = POINT.to_tensor()
    assert len(values) == len(CONTRACT.operating_point)
    assert OperatingPoint.from_tensor(values) == POINT


@pytest.mark.parametrize(
    "wrong", [{"unsure_low": 0.65}, {"unsure_high": 0.5}, {"threshold": 1.2}, {"unsure_low": -0.1}]
)
def test_a_band_that_misses_its_threshold_is_refused(wrong: dict[str, float]) -> None:
    values = dict(zip(CONTRACT.operating_point, POINT.to_tensor(), strict=True)) | wrong
    with pytest.raises(ValueError, match="unsure_low <= threshold"):
        OperatingPoint.from_tensor(list(values.values()))


def test_a_tensor_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        OperatingPoint.from_tensor([1.0, 0.5])


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "fewer than 1 in 500 real product photos score this high or higher"),
        (0.002, "fewer than 1 in 500 real product photos score this high or higher"),
        (0.005, "about 1 in 200 real product photos scores this high or higher"),
        (0.01, "of 100 real product photos about 1 score this high or higher"),
        (0.254, "of 100 real product photos about 25 score this high or higher"),
        (1.0, "of 100 real product photos about 100 score this high or higher"),
    ],
)
def test_a_share_in_words(share: float, words: str) -> None:
    assert frequency(share) == words
