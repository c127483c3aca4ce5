from __future__ import annotations

import json

import numpy as np
import pytest
from drift_traffic import draw, reference

from veriphoto.errors import DataError
from veriphoto.manifest import DriftReference
from veriphoto_monitoring.input.features import MONITORED, to_rows
from veriphoto_monitoring.reference.validation import from_manifest
from veriphoto_monitoring.stats.dependence import with_inflation
from veriphoto_monitoring.stats.distributions import Numbers, from_json, from_rows
from veriphoto_monitoring.stats.prior import estimate_share, rebase
from veriphoto_monitoring.stats.testing import examine, summarise


def test_json_brings_back_the_same_tests():
    before = reference(3000)
    after = from_json(json.loads(json.dumps(before.to_json())))
    rows = to_rows(draw(1000, 1, ai_share=0.3))
    for each in MONITORED:
        one, other = (found.distributions[each.name] for found in (before, after))
        values = rows[:, each.index]
        assert examine(other, summarise(other, values), 1000).p == pytest.approx(
            float(examine(one, summarise(one, values), 1000).p), rel=1e-2, abs=1e-12
        )
    assert after.share == before.share


@pytest.mark.parametrize("body", [{}, {"schema": 1}, {"schema": 2}, [], {"schema": 1, "distributions": {"score": 3}}])
def test_something_else_is_no_baseline(body):
    with pytest.raises(DataError, match="baseline"):
        from_json(body)


def manifest_of(values: np.ndarray) -> DriftReference:
    levels = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0]
    edges = np.linspace(0.0, 1.0, 21)
    counts, _ = np.histogram(np.linspace(0.001, 0.999, len(values)), edges)
    return DriftReference(
        score_edges=edges.tolist(),
        score_counts=counts.tolist(),
        quantile_levels=levels,
        statistics={"width": np.quantile(values, levels).tolist()},
    )


@pytest.mark.parametrize(
    "values",
    [np.random.default_rng(0).normal(100.0, 10.0, 5000), np.random.default_rng(0).choice([240.0, 400.0, 448.0], 5000)],
)
def test_quantiles_alone_never_accuse_the_pictures_they_were_made_of(values):
    found = from_manifest(manifest_of(values), 1).distributions["width"]
    assert float(examine(found, summarise(found, values), 5000).value) < 0.002
    moved = examine(found, summarise(found, values + 30.0), 5000)
    assert float(moved.p) < 1e-9
    assert bool(moved.upwards)


def test_a_manifest_knows_the_score_at_the_edges_of_its_histogram():
    known = from_manifest(manifest_of(np.arange(1000.0)), 1)
    found = known.distributions["score"]
    assert isinstance(found, Numbers)
    uniform = np.random.default_rng(1).uniform(0.001, 0.999, 1000)
    logits = np.log(uniform / (1 - uniform))
    assert float(examine(found, summarise(found, logits), 1000).p) > 0.001
    assert known.prior == pytest.approx(0.5)
    assert "verdict" not in known.distributions


def test_a_baseline_of_another_version_keeps_what_it_knows_of_pictures():
    other = reference(2000).for_version(2)
    assert set(other.distributions) == {each.name for each in MONITORED if each.of_input}
    assert other.share is None
    filled = other.filled_from(from_manifest(manifest_of(np.arange(1000.0)), 2))
    assert "score" in filled.distributions
    assert filled.distributions["width"].size == 2000


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_the_share_is_found_from_probabilities_of_another_prior(share):
    probability = np.array([record.probability for record in draw(20_000, 7, ai_share=share)])
    assert estimate_share(probability, 0.1) == pytest.approx(share, abs=0.012)
    assert rebase(probability, 0.1, 0.1) == pytest.approx(probability)


def test_pictures_in_series_raise_thresholds_and_shuffled_ones_do_not():
    records = draw(20_000, 8)
    rows = to_rows(records)
    series = rows[np.repeat(np.random.default_rng(9).integers(0, 20_000, 1000), 20)]
    times = np.arange(20_000.0)
    alike = with_inflation(from_rows(series, times, 1, 0.1), series).distributions["brightness"].inflation
    mixed = with_inflation(from_rows(rows, times, 1, 0.1), rows).distributions["brightness"].inflation
    assert mixed == 1.0
    assert 3.0 < alike < 7.0  # 20 alike: the square root of 20 is 4.5
