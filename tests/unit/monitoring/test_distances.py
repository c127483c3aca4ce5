"""Our tests against scipy.stats', which the monitor does without for its memory."""

from __future__ import annotations

import numpy as np
import pytest
from drift_traffic import draw, reference
from scipy import stats

from veriphoto_monitoring.stats import distances
from veriphoto_monitoring.stats.distributions import Numbers, from_rows
from veriphoto_monitoring.stats.testing import examine, summarise


def numbers(values: np.ndarray) -> Numbers:
    rows = np.zeros((len(values), 14))
    rows[:, 1] = 0.1
    rows[:, 0] = values
    found = from_rows(rows, np.zeros(len(values)), 1).distributions["score"]
    assert isinstance(found, Numbers)
    return found


@pytest.mark.parametrize(
    ("reference_values", "window"),
    [
        (np.arange(300.0), np.arange(300.0) + 40.5),
        (np.repeat([1.0, 2.0, 3.0], 50), np.repeat([1.0, 2.0, 3.0], [10, 60, 30])),
        (np.repeat([1.0, 2.0], 50), np.array([0.5, 1.0, 1.5, 1.5, 2.5])),
        (np.random.default_rng(1).normal(size=400), np.random.default_rng(2).normal(0.5, size=300)),
    ],
)
def test_distance_equals_scipy_where_the_grid_holds_every_value(reference_values, window):
    found = numbers(reference_values)
    tested = examine(found, summarise(found, window), len(window))
    assert tested.value == pytest.approx(stats.ks_2samp(window, reference_values).statistic, abs=1e-12)


def test_distance_on_a_grid_of_many_values_is_cautious_and_close():
    rng = np.random.default_rng(0)
    long, window = rng.normal(size=20_000), rng.normal(0.1, size=1000)
    found = numbers(long)
    exact = stats.ks_2samp(window, long).statistic
    assert exact - 1 / 512 <= float(examine(found, summarise(found, window), 1000).value) <= exact + 1e-12


def test_p_value_follows_scipys_far_into_the_tail():
    window, long = np.random.default_rng(3).normal(0.2, size=800), np.random.default_rng(4).normal(size=5000)
    found = stats.ks_2samp(window, long, method="asymp")
    ours = distances.gap_p(np.asarray(found.statistic), 800, 5000)
    assert np.log10(ours) == pytest.approx(np.log10(found.pvalue), rel=0.03)


@pytest.mark.parametrize("alpha", [0.01, 1e-4, 1e-6])
def test_thresholds_are_where_the_p_value_is_alpha(alpha):
    assert distances.gap_p(np.asarray(distances.gap_threshold(alpha, 1000, 20_000)), 1000, 20_000) == pytest.approx(
        alpha
    )
    assert distances.mean_p(np.asarray(distances.mean_threshold(alpha))) == pytest.approx(alpha)
    value = distances.table_value(np.asarray(alpha), 3)
    assert distances.table_tail(value, 3) == pytest.approx(alpha)


def test_common_categories_are_tested_as_scipy_does():
    window, long = np.array([700, 200, 100]), np.array([15_000, 3200, 1800])
    expected = stats.chi2_contingency(np.stack([window, long]), correction=False).pvalue
    assert distances.table_p(window, long) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("window", "alarming"), [([999, 1, 0], False), ([998, 2, 0], False), ([950, 50, 0], True), ([980, 0, 20], True)]
)
def test_a_rare_category_needs_more_than_one_picture(window, alarming):
    p = float(distances.table_p(np.array(window), np.array([20_000, 0, 0])))
    assert (p < 1e-4) == alarming


def test_windows_of_nothing_new_are_rarely_called_new():
    rng = np.random.default_rng(5)
    long = rng.normal(size=20_000)
    found = numbers(long)
    drawn = rng.normal(size=(400, 1000))
    p = [float(examine(found, summarise(found, window), 1000).p) for window in drawn]
    # 5 % of 400 is 20; the 99.9 % interval of a fair test.
    assert 8 <= sum(one < 0.05 for one in p) <= 36


def test_many_windows_at_once_give_what_each_gives_alone():
    found = reference(2000).distributions["score"]
    windows = [np.array([record.logit for record in draw(500, seed, raised=0.2)]) for seed in range(3)]
    together = examine(found, np.stack([summarise(found, window) for window in windows]), 500)
    for number, window in enumerate(windows):
        alone = examine(found, summarise(found, window), 500)
        assert together.value[number] == alone.value
        assert together.p[number] == alone.p
        assert bool(alone.upwards)


def test_rare_categories_follow_scipys_binomial_test():
    for count in (4, 12):
        expected = stats.binomtest(count, count + 2, 1000 / 21_000, alternative="greater").pvalue
        # Two sides, and two tests: the rare category alone, and no table besides.
        p = float(distances.table_p(np.array([1000 - count, count, 0]), np.array([19_998, 2, 0])))
        assert p == pytest.approx(2 * expected, rel=0.01)
