from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from veriphoto_training.scoring import metrics


def test_auroc_on_known_numbers() -> None:
    labels = np.array([0, 0, 1, 1])
    assert metrics.auroc(labels, np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert metrics.auroc(labels, np.array([0.5, 0.5, 0.5, 0.5])) == 0.5
    assert np.isnan(metrics.auroc(np.array([1, 1]), np.array([0.1, 0.2])))


def test_auroc_with_weights_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 300), random.integers(0, 40, 300) / 40.0
    for weights in (None, random.random(300), (random.random(300) > 0.5).astype(np.float64)):
        expected = roc_auc_score(labels, scores, sample_weight=weights)
        assert metrics.auroc(labels, scores, weights) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(metrics.auroc(np.array([0, 1]), np.array([0.1, 0.2]), np.array([1.0, 0.0])))


@pytest.mark.parametrize(("rate", "alarms"), [(0.0, 0), (0.02, 2), (0.019, 1), (1.0, 100)])
def test_a_threshold_never_allows_more_alarms_than_asked(rate: float, alarms: int) -> None:
    scores = np.random.default_rng(0).random(100)
    assert (scores >= metrics.threshold_at_fpr(scores, rate)).sum() == alarms


def test_ties_at_the_threshold_are_not_alarms() -> None:
    scores = np.array([0.9] * 10 + [0.1] * 90)
    assert (scores >= metrics.threshold_at_fpr(scores, 0.05)).mean() == 0.0


def test_rates_at_a_fixed_threshold() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.9, 0.6, 0.4])
    assert metrics.rates(labels, scores, 0.5) == (0.5, 0.25)
    assert metrics.balanced_accuracy(labels, scores, 0.5) == 0.625
    assert metrics.tpr_at_fpr(scores[4:], scores[:4], 0.25) == 1.0


def test_a_draw_without_real_photos_says_nothing_of_what_is_found() -> None:
    assert np.isnan(metrics.tpr_at_fpr(np.array([0.9]), np.array([]), 0.02))
    assert np.isnan(metrics.tpr_at_fpr(np.array([]), np.array([0.1]), 0.02))


def test_ece_of_an_honest_and_of_an_overconfident_score() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(40_000)
    honest = (rng.random(40_000) < p).astype(np.int64)
    assert metrics.ece(honest, p) < 0.01
    assert metrics.ece(honest, (p > 0.5).astype(float)) == pytest.approx(0.25, abs=0.01)


def test_the_bootstrap_draws_groups() -> None:
    values = np.repeat(np.random.default_rng(2).random(50), 20)
    by_group = metrics.bootstrap([str(i // 20) for i in range(1000)], lambda i: float(values[i].mean()))
    by_picture = metrics.bootstrap([str(i) for i in range(1000)], lambda i: float(values[i].mean()))
    assert by_group[1] - by_group[0] > 3 * (by_picture[1] - by_picture[0])
