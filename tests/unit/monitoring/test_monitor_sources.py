"""What the monitor reads, log or metrics: which of them counts, and what a switch leaves of the alarms."""

from __future__ import annotations

import numpy as np
import pytest
from drift_traffic import draw, write
from monitored import NOW, URL, Page, finish

from veriphoto.errors import ServiceUnavailableError
from veriphoto_monitoring.input.scrape import read_series, since, to_counts
from veriphoto_monitoring.reference import baseline
from veriphoto_monitoring.report.status import describe
from veriphoto_monitoring.stats.budget import LEAST

ZERO = {URL: {"1|probability|0": 0.0}}
"""A page seen before that had counted nothing."""


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


def test_a_new_baseline_is_taken_up_where_there_is_no_log(place, tmp_path):
    monitor = place.open()
    for number in range(8):
        monitor.scrape(NOW + number)
        place.page.records += draw(500, 100 + number, blockier=0.5)
    assert describe(monitor, NOW)["drift_score"] > 1.0
    write(tmp_path / "elsewhere", draw(4000, 8, blockier=0.5))
    baseline.write(place.state / "baseline.json", baseline.make(tmp_path / "elsewhere", 20_000, None, None))
    status = describe(finish(monitor), NOW)
    assert (status["source"], status["status"], status["drift_detected"]) == ("metrics", "ok", False)
    assert 0.0 < status["drift_score"] <= 1.0, "the windows are tested anew, not left with the old reference's scores"
    assert not monitor.store.alarms(open_only=True)


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
