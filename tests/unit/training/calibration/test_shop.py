"""What a shop's own photos decide, and how many of them it takes."""

from __future__ import annotations

import numpy as np
import pytest
from brightness_model import POINT

from veriphoto.errors import DataError, UsageError
from veriphoto_training.calibration.shop import advised, fit_shop, needed, provable_rate, too_few


@pytest.mark.parametrize(("rate", "count"), [(0.05, 59), (0.02, 149), (0.01, 299), (0.001, 2995)])
def test_the_fewest_photos_that_prove_a_rate(rate: float, count: int) -> None:
    assert needed(rate) == count
    assert (1 - rate) ** count <= 0.05 < (1 - rate) ** (count - 1)
    assert count < advised(rate) < 10 * count


@pytest.mark.parametrize("photos", [20, 40, 149, 1000])
def test_the_rate_that_so_many_photos_prove_needs_no_more(photos: int) -> None:
    assert needed(provable_rate(photos)) <= photos


def test_too_few_photos_are_refused_with_what_would_do() -> None:
    with pytest.raises(DataError, match=r"148 usable real photos; a rate of 2.0% needs at least 149 \(better \d+\)"):
        fit_shop(np.linspace(0, 0.5, 148, dtype=np.float32), 0.02)
    assert "enough for 2.1%" in too_few(148, 0.02)
    assert "enough" not in too_few(0, 0.02)


@pytest.mark.parametrize(("rate", "assurance"), [(0.0, 0.95), (1.0, 0.95), (-0.1, 0.95), (0.02, 1.0)])
def test_numbers_out_of_range_are_refused(rate: float, assurance: float) -> None:
    with pytest.raises(UsageError):
        fit_shop(np.zeros(500, dtype=np.float32), rate, assurance)


def test_ranks_are_exact() -> None:
    # 1,000 photos at 2 %: by the binomial 12 may be flagged; 19 may lie above the conformal threshold; 29 end the band.
    scores = np.random.default_rng(0).permutation(np.linspace(0, 0.9, 1000, dtype=np.float32))
    fit = fit_shop(scores, 0.02)
    assert (fit.flagged, fit.above_threshold, fit.flagged + fit.unsure) == (12, 19, 29)
    assert fit.unsure_low in scores
    assert not np.isin(np.float32(fit.threshold), scores)
    point = fit.apply(POINT)
    assert (point.threshold, point.unsure_low, point.unsure_high) == (fit.threshold, fit.unsure_low, fit.unsure_high)
    assert (point.min_side, point.max_blockiness) == (POINT.min_side, POINT.max_blockiness)
    assert np.float32(point.unsure_high) == point.unsure_high  # answers carry FP32


@pytest.mark.parametrize("count", [149, 400, 1500])
def test_the_promises_hold_over_many_shops(count: int) -> None:
    """Uniform scores: the true rate above a limit t is 1 - t."""
    rng = np.random.default_rng(count)
    fits = [fit_shop(rng.random(count, dtype=np.float32), 0.02) for _ in range(600)]
    flagged = np.array([1 - fit.unsure_high for fit in fits])
    assert (flagged > 0.02).mean() < 0.05 + 0.025
    assert np.mean([1 - fit.threshold for fit in fits]) < 0.0205
    assert np.mean([1 - fit.threshold for fit in fits]) > 0.017
    assert np.mean([1 - fit.unsure_low < 0.02 for fit in fits]) < 0.05 + 0.025


def test_ties_go_to_the_side_of_the_shop() -> None:
    scores = np.full(600, 0.4, dtype=np.float32)
    fit = fit_shop(scores, 0.02)
    assert fit.above_threshold == 0
    assert fit.threshold > 0.4
    assert fit.threshold == pytest.approx(0.4)


def test_a_model_that_is_sure_of_too_many_is_refused() -> None:
    scores = np.zeros(600, dtype=np.float32)
    scores[:100] = 1.0
    with pytest.raises(DataError, match="100 of 600"):
        fit_shop(scores, 0.02)
