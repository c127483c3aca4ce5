"""What a fresh model says of its validation pictures is a reference that the monitor can test everything against."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.drift import BLOCK, DAY, WARM, alarms
from drift_traffic import draw

from veriphoto.contract import CLASSIFIER, CONTRACT
from veriphoto.manifest import DriftReference, latest_version, read_manifest
from veriphoto.prediction_log.record import Record, as_logged
from veriphoto.verdict import OperatingPoint, decide
from veriphoto_monitoring.input.features import MONITORED, to_rows
from veriphoto_monitoring.reference.validation import from_manifest
from veriphoto_monitoring.stats.budget import WINDOWS, Budget
from veriphoto_monitoring.stats.distributions import Numbers, Reference
from veriphoto_monitoring.stats.testing import examine, summarise
from veriphoto_training.calibration.fit import drift_reference

POINT = OperatingPoint(
    model_version=1, threshold=0.6, unsure_low=0.4, unsure_high=0.7, min_side=96.0, max_blockiness=1.35
)
BUDGET = Budget(images_per_day=DAY)
VALIDATION = 600
SHIPPED = read_manifest(latest_version(Path(__file__).parents[2] / "model_repository" / CLASSIFIER))


def answered(records: list[Record]) -> list[Record]:
    """The records with the answers that a graph gives: the probability is the logit's."""
    done = []
    for one in records:
        probability = float(1.0 / (1.0 + np.exp(-one.logit)))
        named = dict(zip(CONTRACT.statistics, one.statistics, strict=True))
        answer = replace(one, probability=probability, verdict=decide(probability, named, POINT).verdict)
        done.append(Record.from_line(answer.to_line()))  # rounded, as the monitor reads it
    return done


@pytest.fixture(scope="module")
def world() -> list[Record]:
    return draw(20_000, 5, ai_share=0.34)


@pytest.fixture(scope="module")
def rows(world: list[Record]) -> np.ndarray:
    return to_rows(answered(world))


def trained(world: list[Record], rng: np.random.Generator, size: int = VALIDATION) -> Reference:
    """The reference of a model with so many validation pictures, by way of its manifest's JSON."""
    chosen = [world[i] for i in rng.integers(0, len(world), size)]
    statistics = np.array([one.statistics for one in chosen], dtype=np.float32)
    found = drift_reference(np.array([one.logit for one in chosen]), statistics, POINT)
    return from_manifest(DriftReference(**json.loads(json.dumps(asdict(found)))), 1)


def test_every_statistic_is_tested(world):
    found = trained(world, np.random.default_rng(0))
    assert set(found.distributions) == {each.name for each in MONITORED}
    assert found.images == VALIDATION
    assert found.of_validation


def test_a_mean_of_few_pictures_is_not_tested(world):
    missing = {each.name for each in MONITORED} - set(trained(world, np.random.default_rng(0), 100).distributions)
    assert missing == {"mean_probability"}


def test_unchanged_days_stay_quiet_whatever_pictures_validation_got(world, rows):
    quiet = []
    for day in range(60):
        rng = np.random.default_rng([day, 1])
        stream = rng.integers(0, len(rows), (WARM + DAY) // BLOCK * BLOCK)
        quiet.append(not [one for one in alarms(rows, stream, trained(world, rng), BUDGET) if one.at > WARM])
    assert sum(quiet) >= 58  # at 1 % a day, three days with an alarm have a probability of 2 %


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"ai_share": 0.6}, {"score", "mean_probability", "verdict"}),
        ({"ai_share": 0.34, "blockier": 0.5}, {"blockiness"}),
    ],
)
def test_a_change_is_seen_within_a_window(world, change, seen):
    changed = to_rows(answered(draw(DAY, 6, **change)))
    found = {one.statistic for one in alarms(changed, np.arange(DAY), trained(world, np.random.default_rng(2)), BUDGET)}
    assert seen <= found
    assert "brightness" not in found


def described(column: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws what the shipped manifest describes, as the log would have it."""
    noted = SHIPPED.findings.drift_reference
    if column in noted.statistics:
        levels, values = noted.quantile_levels, noted.statistics[column]
        drawn = np.interp(rng.random(count), levels, values)
    else:
        edges, counts = np.array(noted.score_edges), np.array(noted.score_counts)
        bins = rng.choice(len(counts), count, p=counts / counts.sum())
        p = rng.uniform(edges[bins], edges[bins + 1])
        drawn = np.log(p / (1.0 - p))
    return np.array([as_logged(column, float(value)) for value in drawn])


@pytest.mark.parametrize("window", WINDOWS)
def test_pictures_as_the_shipped_manifest_describes_them_raise_no_alarm(window):
    reference = from_manifest(SHIPPED.findings.drift_reference, SHIPPED.model_version)
    rng = np.random.default_rng(3)
    numbers = [each for each in MONITORED if each.kind == "number"]
    for each in numbers:
        found = reference.distributions[each.name]
        assert isinstance(found, Numbers)
        assert found.size == sum(SHIPPED.findings.drift_reference.score_counts)
        tested = examine(found, summarise(found, described(each.column, window, rng)), window)
        assert float(tested.p) >= BUDGET.alpha(each.name, window), each.name
