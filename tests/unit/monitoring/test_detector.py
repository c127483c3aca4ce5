from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drift_traffic import BEGIN, draw, reference

from veriphoto.prediction_log.metrics import HISTOGRAMS
from veriphoto_monitoring.drift.alarms import EXAMPLES, Alarm
from veriphoto_monitoring.drift.detector import DriftDetector
from veriphoto_monitoring.drift.histogram_detector import HistogramDetector
from veriphoto_monitoring.drift.results import Changes
from veriphoto_monitoring.input.features import MONITORED, to_rows
from veriphoto_monitoring.input.scrape import Counts
from veriphoto_monitoring.stats.budget import LEAST, WINDOWS, Budget

REFERENCE = reference()


@pytest.fixture
def detector() -> DriftDetector:
    return DriftDetector(Budget(), REFERENCE.for_version)


def feed(detector: DriftDetector, records, size: int = 333) -> Changes:
    changes = Changes([], [])
    for start in range(0, len(records), size):
        part = records[start : start + size]
        changes.extend(detector.add(part, to_rows(part)))
    return changes


def test_the_budget_is_spent_once_over_everything_tested_in_a_day():
    budget = Budget(per_day=0.01, images_per_day=10_000)
    spent = sum(
        budget.alpha(each.name, window) * 10_000 / step for each in MONITORED for window, step in WINDOWS.items()
    )
    assert spent == pytest.approx(0.01)
    with pytest.raises(ValueError, match="budget"):
        Budget(per_day=0.0)


def test_nothing_is_tested_below_the_least_number_of_pictures(detector):
    records = draw(LEAST + 50, 1, blockier=1.0)
    assert not feed(detector, records[: LEAST - 1]).evaluations
    changes = feed(detector, records[LEAST - 1 :])
    assert [evaluation.images for _, evaluation in changes.evaluations] == [250]
    assert "blockiness" in {alarm.statistic for alarm in changes.alarms}


def test_a_quiet_stretch_has_no_alarm(detector):
    changes = feed(detector, draw(8000, 2))
    assert len(changes.evaluations) == 8000 // 250 + 8000 // 500
    assert not changes.alarms


def test_chunks_make_no_difference():
    records = draw(2500, 3) + draw(1500, 4, blockier=0.3)
    found = []
    for size in (1, 97, 4000):
        detector = DriftDetector(Budget(), lambda _: REFERENCE)
        feed(detector, records, size)
        found.append((detector.alarms, detector.evaluations))
    assert found[0] == found[1] == found[2]
    assert found[0][0]


def test_an_alarm_says_what_which_way_since_when_and_why(detector):
    changes = feed(detector, draw(6000, 5) + draw(1000, 6, blockier=0.4, begin=BEGIN + 6000, prefix="new"))
    alarm = next(alarm for alarm in changes.alarms if alarm.statistic == "blockiness")
    assert (alarm.window, alarm.direction, alarm.cause) == (1000, "higher", "input")
    assert alarm.raised == BEGIN + 6499  # the second test after the change
    assert BEGIN + 5950 <= alarm.since <= BEGIN + 6100
    assert len(alarm.request_ids) == EXAMPLES
    assert all(name.startswith("new-") for name in alarm.request_ids)
    assert alarm.value > alarm.threshold
    assert Alarm.from_json(alarm.to_json()) == alarm


def test_an_alarm_names_only_requests_that_have_an_id(detector):
    new = draw(1000, 6, blockier=0.4, begin=BEGIN + 6000, prefix="new")
    some = [replace(record, request_id=record.request_id * (number % 200 == 0)) for number, record in enumerate(new)]
    changes = feed(detector, draw(6000, 5) + some)
    alarm = next(alarm for alarm in changes.alarms if alarm.statistic == "blockiness")
    assert 0 < len(alarm.request_ids) < EXAMPLES
    assert all(alarm.request_ids)


def test_a_moved_share_is_told_from_moved_pictures_and_moved_scores(detector):
    feed(detector, draw(5000, 7) + draw(5000, 8, ai_share=0.25))
    causes = {alarm.statistic: alarm.cause for alarm in detector.alarms.values()}
    assert causes["score"] == "prior"
    assert causes["sharpness"] == "prior"  # AI-generated pictures are sharper here, and there are more of them
    other = DriftDetector(Budget(), lambda _: REFERENCE)
    feed(other, draw(5000, 9) + draw(5000, 10, raised=0.8))
    causes = {alarm.statistic: alarm.cause for alarm in other.alarms.values()}
    assert causes["score"] == "score"
    assert "sharpness" not in causes


def test_an_alarm_ends_when_a_whole_window_is_clean(detector):
    feed(detector, draw(3000, 11) + draw(500, 12, blockier=0.8))
    assert (1, 1000, "blockiness") in detector.alarms
    changes = feed(detector, draw(3000, 13))
    ended = [alarm for alarm in changes.alarms if alarm.ended is not None and alarm.window == 1000]
    assert [alarm.statistic for alarm in ended] == ["blockiness"]
    assert (1, 1000, "blockiness") not in detector.alarms


def test_a_new_version_begins_anew_and_is_not_held_against_the_old_ones_scores(detector):
    feed(detector, draw(2000, 14))
    changes = feed(detector, draw(1000, 15, version=2, raised=3.0))
    assert detector.version == 2
    assert len(detector.histories[2]) == 1000
    statistics = {result.statistic for _, evaluation in changes.evaluations for result in evaluation.results}
    assert "score" not in statistics
    assert "blockiness" in statistics
    assert not changes.alarms


def test_clocks_that_jump_change_no_test(detector):
    steady = draw(2000, 16)
    jumping = [
        type(record)(**{**{name: getattr(record, name) for name in record.__slots__}, "time": time})
        for record, time in zip(steady, np.random.default_rng(0).uniform(-1e12, 1e12, 2000), strict=True)
    ]
    other = DriftDetector(Budget(), lambda _: REFERENCE)
    feed(detector, steady)
    feed(other, jumping)
    results = [{key: one.results for key, one in each.evaluations.items()} for each in (detector, other)]
    assert results[0] == results[1]


def test_a_changed_reference_begins_alarms_anew(detector):
    feed(detector, draw(3000, 17, blockier=0.5))
    assert detector.alarms
    records = draw(10_000, 18, blockier=0.5)
    from veriphoto_monitoring.stats.distributions import from_rows  # noqa: PLC0415

    healthy = from_rows(to_rows(records), np.arange(10_000.0), 1, 0.1)
    detector._references = lambda _: healthy
    detector.refer()
    assert not detector.alarms


def test_only_the_versions_that_answered_last_are_kept(detector):
    feed(detector, draw(3000, 19, blockier=0.5))
    raised = set(detector.alarms)
    assert (1, 1000, "blockiness") in raised
    feed(detector, draw(300, 20, version=2))
    for version in (3, 4):
        feed(detector, draw(300, 20, version=2))
        changes = feed(detector, draw(300, 20 + version, version=version, begin=BEGIN + 9000))
    assert list(detector.histories) == [3, 2, 4]
    assert {version for version, _ in detector.evaluations} == {2, 3, 4}
    ended = {alarm.key: alarm.ended for alarm in changes.alarms if alarm.model_version == 1}
    assert ended == dict.fromkeys(raised, BEGIN + 9299)
    assert not raised & set(detector.alarms)


def test_of_what_servers_count_only_the_latest_versions_are_kept(detector):
    feed(detector, draw(3000, 23, blockier=0.5))
    counting = HistogramDetector(Budget(), lambda _: None, detector.alarms.values())
    for version in (1, 2, 3, 2, 4):
        counts = Counts(
            first=BEGIN, last=BEGIN + version, fields={"probability": np.ones(len(HISTOGRAMS["probability"][2]) + 1)}
        )
        changes = counting.add({version: counts})
    assert list(counting.blocks) == [3, 2, 4]
    assert set(counting.seen) == {2, 3, 4}
    assert {alarm.key: alarm.ended for alarm in changes.alarms} == dict.fromkeys(detector.alarms, BEGIN + 1)
    assert not counting.alarms
