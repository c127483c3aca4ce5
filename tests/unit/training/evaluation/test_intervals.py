"""Intervals say something where there is little to go by."""

from __future__ import annotations

import numpy as np
import pytest

from veriphoto_training.evaluation.intervals import auroc, estimate, independent, share


@pytest.mark.parametrize("value", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("count", [1, 5, 29, 30, 500])
def test_no_share_has_an_interval_without_width(value: float, count: int) -> None:
    found = share(value, count)
    assert found.low <= value <= found.high
    assert found.high - found.low > 0.7 / count


def test_five_pictures_told_apart_without_a_mistake_prove_little() -> None:
    labels, scores = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.8, 0.9])
    found = auroc(labels, scores, list("abcde"))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < 0.5, "two pictures of a class"
    many = auroc(np.repeat(labels, 100), np.repeat(scores, 100), [str(i) for i in range(500)])
    assert 0.95 < many.low < 1.0


def test_copies_count_once() -> None:
    assert independent(list("abcde")) == 5
    assert independent(["a"] * 5) == 1
    assert independent(["a"] * 4 + ["b"]) == pytest.approx(25 / 17)
    assert independent([]) == 0
    labels = np.array([0, 1] * 50)
    alike = auroc(labels, labels.astype(float), [f"{i % 2}" for i in range(100)])
    assert alike.low < 0.3


def test_many_pictures_keep_the_interval_of_their_resamples() -> None:
    values = np.arange(400) % 2
    groups = [str(i) for i in range(400)]
    plain = estimate(groups, lambda i: float(values[i].mean()))
    assert estimate(groups, lambda i: float(values[i].mean()), trials=400) == plain
