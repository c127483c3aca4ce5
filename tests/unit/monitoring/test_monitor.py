"""The monitor on real files and a real store: what its page, metrics and report say, and what outlives it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
from drift_traffic import draw, write
from monitored import NOW, URL, Place, finish
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from veriphoto.errors import DataError, StartupError
from veriphoto_monitoring.drift.store import Store
from veriphoto_monitoring.input.features import MONITORED
from veriphoto_monitoring.reference import baseline
from veriphoto_monitoring.report.exporter import DriftCollector
from veriphoto_monitoring.report.html import render
from veriphoto_monitoring.report.status import describe


def test_a_restart_anywhere_makes_no_difference(place, tmp_path):
    records = draw(2600, 1) + draw(1400, 2, blockier=0.4)
    straight = Place(tmp_path / "straight")
    write(straight.log, records)
    expected = describe(finish(straight.open()), NOW)
    for start in range(0, 4000, 610):
        write(place.log, records[start : start + 610])
        monitor = finish(place.open())
        found = describe(monitor, NOW)
        monitor.store.close()
    assert found == expected
    assert found["log"]["records"] == 4000
    assert found["status"] == "drift"


def test_a_transaction_that_fails_leaves_neither_offset_nor_records(place, monkeypatch):
    write(place.log, draw(500, 3))
    monitor = place.open()

    def fail(*_):
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(monitor.store, "count", fail)
    with pytest.raises(sqlite3.OperationalError):
        finish(monitor)
    monitor.store.close()
    again = finish(place.open())
    assert describe(again, NOW)["log"]["records"] == 500
    assert again.detector.histories[1].seen == 500


def test_the_page_names_everything_the_issue_names(place):
    write(place.log, draw(1200, 4))
    status = describe(finish(place.open()), NOW)
    assert {
        "timestamp",
        "window_size",
        "mean_probability",
        "std_probability",
        "low_confidence_ratio",
        "prediction_ratio",
        "drift_detected",
        "drift_score",
        "alerts",
    } <= set(status)
    assert (status["status"], status["drift_detected"], status["window_size"]) == ("ok", False, 1000)
    assert [one["statistic"] for one in status["windows"][0]["statistics"]] == [each.name for each in MONITORED]
    assert 0 < status["drift_score"] < 1
    assert "probabilities" in status["estimate"]["assumption"]
    assert 0.8 < status["estimate"]["accuracy"] <= 1


@pytest.mark.parametrize(
    ("confidence", "share"),
    [("low", 1.0), ("medium", 0.0), ("high", 0.0), ("", None)],
)
def test_low_confidence_is_what_the_log_says_and_unsure_in_older_lines(place, confidence, share):
    records = [replace(one, confidence=confidence) for one in draw(500, 4)]
    write(place.log, records)
    unsure = sum(one.verdict == "unsure" for one in records) / 500
    assert unsure > 0
    assert describe(finish(place.open()), NOW)["low_confidence_ratio"] == pytest.approx(
        unsure if share is None else share
    )


def test_too_little_data_is_no_verdict(place):
    write(place.log, draw(150, 5))
    status = describe(finish(place.open()), NOW)
    assert (status["status"], status["drift_detected"], status["drift_score"]) == ("not enough data", None, None)
    assert status["window_size"] == 150


def test_without_any_reference_it_says_so(place):
    (place.state / "baseline.json").unlink()
    write(place.log, draw(1500, 6))
    status = describe(finish(place.open()), NOW)
    assert (status["status"], status["drift_detected"], status["reference"]) == ("no reference", None, None)
    assert status["mean_probability"] > 0


def test_a_baseline_of_nothing_asks_whether_it_is_the_server_s_log(place):
    asks = "is that the log of the server? Name its folder with --var, or the log with --log"
    with pytest.raises(DataError, match="has 0 pictures") as nothing:
        baseline.make(place.state / "elsewhere" / "predictions", 20_000, None, None)
    assert nothing.value.message.endswith(asks)
    write(place.log, draw(150, 5))
    with pytest.raises(DataError, match="has 150 pictures") as few:
        baseline.make(place.log, 20_000, None, None)
    assert asks not in few.value.message


def test_a_new_baseline_is_taken_up_while_running(place):
    write(place.log, draw(3000, 7, blockier=0.5))
    monitor = finish(place.open())
    assert describe(monitor, NOW)["drift_detected"]
    write(place.log, draw(4000, 8, blockier=0.5))
    made = baseline.make(place.log, 20_000, None, None)
    assert made.images == 7000
    baseline.write(place.state / "baseline.json", made)
    assert not describe(finish(monitor), NOW)["drift_detected"]
    assert not monitor.store.alarms(open_only=True)
    assert monitor.store.alarms()[0].ended is not None


GAUGES = {
    "veriphoto_drift_detected": {"window"},
    "veriphoto_drift_score": {"window"},
    "veriphoto_drift_statistic": {"statistic", "window"},
    "veriphoto_drift_p_value": {"statistic", "window"},
    "veriphoto_drift_threshold": {"statistic", "window"},
    "veriphoto_drift_alarm": {"statistic", "window"},
    "veriphoto_drift_window_images": {"window"},
    "veriphoto_drift_records_total": set(),
    "veriphoto_drift_bad_lines_total": set(),
    "veriphoto_drift_last_record_timestamp_seconds": set(),
    "veriphoto_drift_mean_probability": set(),
    "veriphoto_drift_ai_share": set(),
    "veriphoto_drift_low_confidence_ratio": set(),
    "veriphoto_drift_estimated_accuracy": set(),
    "veriphoto_drift_log_reachable": set(),
    "veriphoto_drift_scrape_up": {"triton"},
}


def test_metrics_have_the_names_that_dashboards_use_and_the_values_of_the_page(place):
    write(place.log, draw(1500, 9, blockier=0.6))
    monitor = finish(place.open())
    monitor.scrape(NOW)
    status = describe(monitor, NOW)
    registry = CollectorRegistry()
    registry.register(DriftCollector(lambda: status))
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert {sample.name: set(sample.labels) for sample in samples} == GAUGES
    blockiness = {"statistic": "blockiness", "window": "1000"}
    assert registry.get_sample_value("veriphoto_drift_alarm", blockiness) == 1
    assert registry.get_sample_value("veriphoto_drift_alarm", {"statistic": "format", "window": "1000"}) == 0
    assert registry.get_sample_value("veriphoto_drift_detected", {"window": "1000"}) == 1
    assert registry.get_sample_value("veriphoto_drift_records_total") == 1500
    assert registry.get_sample_value("veriphoto_drift_scrape_up", {"triton": URL}) == 1


def test_the_report_draws_every_statistic_and_escapes_request_ids(place):
    write(place.log, draw(1500, 10, blockier=0.6, prefix="<script>"))
    monitor = finish(place.open())
    page = render(monitor, describe(monitor, NOW))
    for each in MONITORED:
        if each.kind != "mean":
            assert f'aria-label="{each.name}: window against reference"' in page
    assert "<script>" not in page
    assert "&lt;script&gt;-" in page
    assert page.count("<svg") == len(MONITORED) - 1 + 2


def test_no_second_monitor_counts_what_one_counts(place):
    write(place.log, draw(300, 21))
    first = place.open()
    with pytest.raises(StartupError, match="another drift monitor uses"):
        place.open()
    finish(first).store.close()
    again = place.open()
    assert describe(again, NOW)["log"]["records"] == 300


def test_a_store_of_another_release_is_refused(tmp_path):
    path = tmp_path / "monitor.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    for _ in range(2):  # what could not be opened is not in use
        with pytest.raises(StartupError, match="another release"):
            Store(path)
    with pytest.raises(StartupError, match="cannot be used"):
        Store(tmp_path)


def test_metric_text_is_what_prometheus_parses(place):
    from prometheus_client import generate_latest  # noqa: PLC0415

    write(place.log, draw(1200, 21))
    status = describe(finish(place.open()), NOW)
    registry = CollectorRegistry()
    registry.register(DriftCollector(lambda: status))
    families = {family.name for family in text_string_to_metric_families(generate_latest(registry).decode())}
    assert {"veriphoto_drift_records", "veriphoto_drift_score"} <= families
