"""The monitor on real files, a real store, and metrics pages as the recorder's Triton prints them."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drift_traffic import draw, reference, write
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from veriphoto.errors import DataError, ServiceUnavailableError, StartupError
from veriphoto.prediction_log.metrics import HISTOGRAMS, IMAGE_FORMATS, VERDICTS
from veriphoto.prediction_log.record import Record
from veriphoto_monitoring.drift.monitor import DriftMonitor
from veriphoto_monitoring.drift.store import Store
from veriphoto_monitoring.input.features import MONITORED
from veriphoto_monitoring.input.scrape import read_series, since, to_counts
from veriphoto_monitoring.input.scraper import Scraper
from veriphoto_monitoring.reference import baseline
from veriphoto_monitoring.reference.sources import Sources
from veriphoto_monitoring.report.exporter import DriftCollector
from veriphoto_monitoring.report.html import render
from veriphoto_monitoring.report.status import describe
from veriphoto_monitoring.stats.budget import LEAST, Budget

NOW = 1_760_100_000.0
URL = "http://triton:8002/metrics"


ZERO = {URL: {"1|probability|0": 0.0}}
"""A page seen before that had counted nothing."""


class Page:
    """A Triton's metrics page, which counts as the recorder counts."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.down = False

    def get(self, _: str) -> str:
        if self.down:
            raise ServiceUnavailableError("down")
        lines = []
        for field, (name, _text, bounds) in HISTOGRAMS.items():
            values = np.array(
                [
                    getattr(one, field) if field in ("logit", "probability") else one.statistic(field)
                    for one in self.records
                ]
            )
            lines.append(f"# TYPE {name} histogram")
            for bound in [*bounds, float("inf")]:
                le = "+Inf" if bound == float("inf") else f"{bound:.6f}"
                lines.append(f'{name}_bucket{{model_version="1",le="{le}"}} {int((values <= bound).sum())}')
            lines.append(f'{name}_sum{{model_version="1"}} {values.sum()}')
            lines.append(f'{name}_count{{model_version="1"}} {len(values)}')
        for name, label, found in (
            (VERDICTS, "verdict", [one.verdict for one in self.records]),
            (IMAGE_FORMATS, "format", [("jpeg", "png", "webp")[int(one.statistic("format"))] for one in self.records]),
        ):
            lines.append(f"# TYPE {name} counter")
            lines += [
                f'{name}{{model_version="1",{label}="{one}"}} {found.count(one)}'
                for one in ("real", "ai_generated", "unsure", "jpeg", "png", "webp")
                if (one in ("jpeg", "png", "webp")) == (label == "format")
            ]
        return "\n".join(lines) + "\n"


class Place:
    """Directories of one monitor, which can be opened again and again."""

    def __init__(self, root: Path) -> None:
        self.log, self.state, self.page = root / "log", root / "state", Page()
        baseline.write(self.state / "baseline.json", reference())

    def open(self) -> DriftMonitor:
        sources = Sources(self.state / "baseline.json", self.state / "models")
        store = Store(self.state / "monitor.sqlite")
        return DriftMonitor(store, self.log, sources, Budget(), Scraper([URL], self.page.get))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def finish(monitor: DriftMonitor) -> DriftMonitor:
    while not monitor.work():
        pass
    return monitor


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


def test_metrics_alone_find_the_drift_that_the_log_would(place):
    monitor = place.open()
    for number in range(30):
        monitor.scrape(NOW + number)
        place.page.records += draw(250, 100 + number, blockier=0.5 if number >= 20 else 0.0)
        if number == 19:
            status = describe(monitor, NOW)
            assert (status["source"], status["status"]) == ("metrics", "ok")
    monitor.scrape(NOW + 30)
    status = describe(monitor, NOW)
    assert status["status"] == "drift"
    assert {one["statistic"] for one in status["alerts"]} == {"blockiness"}
    assert status["alerts"][0]["since"].startswith("2025-10-10")
    assert not status["log"]["reachable"]
    assert status["mean_probability"] == pytest.approx(
        np.mean([one.probability for one in place.page.records[-1000:]]), abs=1e-6
    )
    monitor.store.close()
    again = place.open()
    again.scrape(NOW + 31)
    assert describe(again, NOW)["status"] == "drift"
    assert again.histogram_detector.seen == {1: 7500}


def test_a_log_that_comes_back_takes_over(place):
    monitor = place.open()
    monitor.scrape(NOW)
    place.page.records += draw(600, 11)
    monitor.scrape(NOW + 15)
    assert monitor.source == "metrics"
    write(place.log, draw(600, 12))
    finish(monitor)
    assert monitor.source == "log"
    assert describe(monitor, NOW)["window_size"] == 600


def test_a_log_that_stands_still_while_the_server_counts_is_noticed(place):
    write(place.log, draw(300, 13))
    monitor = finish(place.open())
    monitor.scrape(NOW)
    place.page.records += draw(150, 14)
    monitor.scrape(NOW + 15)
    assert monitor.source == "log"
    place.page.records += draw(150, 15)
    monitor.scrape(NOW + 30)
    assert monitor.source == "metrics"


@pytest.mark.parametrize("rate", [5, 14, 50, 500])
@pytest.mark.parametrize("lines", ["before the scrape", "after the scrape"])
def test_alarms_hold_at_any_rate_while_log_and_server_count_the_same(place, rate, lines):
    """A scrape that counts 200 pictures is no log that stands still; alarms neither end nor come back."""
    monitor, per_scrape = place.open(), rate * 15
    monitor.scrape(NOW)
    scrapes = max(8, 4500 // per_scrape)
    open_alarms = []
    for number in range(1, scrapes + 1):
        records = draw(per_scrape, number, blockier=0.5)
        place.page.records = records  # counters that began anew: the page need not draw all pictures each time
        monitor.scraper.restore({"before": ZERO, "last": {URL: NOW + 15 * (number - 1)}})
        write(place.log, records)
        if lines == "before the scrape":
            finish(monitor)
        monitor.scrape(NOW + 15 * number)
        finish(monitor)
        open_alarms.append({one.statistic for one in monitor.alarms()})
        assert monitor.source == "log"
    first = next(number for number, found in enumerate(open_alarms) if "blockiness" in found)
    assert all("blockiness" in found for found in open_alarms[first:])
    assert describe(monitor, NOW)["source_switched"] is None
    raised = [(one.window, one.statistic) for one in monitor.store.alarms()]
    assert len(raised) == len(set(raised)), "an alarm ended and was raised again"


@pytest.mark.parametrize("rate", [5, 50, 500])
def test_a_switch_of_source_keeps_alarms_and_says_so(place, rate, caplog):
    monitor, per_scrape = place.open(), rate * 15
    write(place.log, draw(1500, 40, blockier=0.5))
    finish(monitor)
    before = {alarm.key: alarm.raised for alarm in monitor.alarms()}
    assert (1, 1000, "blockiness") in before
    monitor.scrape(NOW)

    scrapes = 0  # the log stands still while the server counts on
    while monitor.source == "log":
        scrapes += 1
        place.page.records += draw(per_scrape, 40 + scrapes, blockier=0.5)
        monitor.scrape(NOW + 15 * scrapes)
    assert scrapes == -(-LEAST // per_scrape)
    assert before.items() <= {alarm.key: alarm.raised for alarm in monitor.alarms()}.items()
    status = describe(monitor, NOW)
    assert (status["source"], status["status"]) == ("metrics", "drift")
    assert "stands still" in status["source_switched"]["why"]
    assert status["source_switched"]["alarms_kept"] == len(before)
    assert f"{len(before)} alarms stay open" in caplog.text

    monitor.store.close()
    monitor = place.open()  # what was kept outlives the process
    assert before.keys() <= monitor.histogram_detector.alarms.keys()

    write(place.log, draw(250, 60, blockier=0.5))
    finish(monitor)
    assert monitor.source == "log"
    assert before.items() <= {alarm.key: alarm.raised for alarm in monitor.alarms()}.items()
    assert describe(monitor, NOW)["source_switched"]["why"] == "there are records again"

    write(place.log, draw(11_000, 61))  # kept is not for ever: a whole clean window of the new source ends them
    finish(monitor)
    assert not monitor.alarms()
    assert not monitor.store.alarms(open_only=True)


def test_a_log_of_which_one_segment_is_refused_does_not_change_hands_at_every_scrape(place, monkeypatch):
    monitor = place.open()
    monitor.scrape(NOW)
    monkeypatch.setattr(monitor.tail, "reachable", lambda: False)  # root may read any file
    for number in range(1, 5):
        records = draw(300, 70 + number)
        place.page.records += records
        write(place.log, records)
        finish(monitor)
        monitor.scrape(NOW + 15 * number)
        assert monitor.source == "log"


def test_counters_that_begin_anew_count_what_is_new():
    page = Page()
    page.records = draw(500, 16)
    before = read_series(page.get(URL))
    page.records += draw(100, 17)
    assert to_counts(since(read_series(page.get(URL)), before))[1].images == 100
    page.records = draw(70, 18)
    restarted = to_counts(since(read_series(page.get(URL)), before))[1]
    assert restarted.images == 70
    assert restarted.fields["verdict"].sum() == 70


def test_a_server_that_is_down_is_told_and_asked_again(place):
    monitor = place.open()
    place.page.records = draw(300, 19)
    monitor.scrape(NOW)
    place.page.down = True
    monitor.scrape(NOW + 15)
    assert describe(monitor, NOW)["tritons"] == {URL: False}
    place.page.down, place.page.records = False, place.page.records + draw(40, 20)
    monitor.scrape(NOW + 30)
    assert monitor.histogram_detector.seen == {1: 40}  # what it counted before it was ever asked is left out


def test_what_is_no_metrics_page_is_refused():
    with pytest.raises(ServiceUnavailableError):
        read_series(
            '# TYPE veriphoto_image_logit histogram\nveriphoto_image_logit_bucket{model_version="1",le="x"} 3\n'
        )


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
