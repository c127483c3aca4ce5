"""The progress line says what the issue of a long scan is: pace, accounts, time left, cost."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from veriphoto.errors import UsageError
from veriphoto_client.catalogue import CatalogueOptions
from veriphoto_client.catalogue.progress import Pace, ProgressLine, cost
from veriphoto_client.catalogue.tally import Count


def test_the_line():
    pace = Pace(total=20_000, earlier=1_000, price=0.036)
    pace.line(Count(), 0.0)
    line = pace.line(Count(done=4_000, failed=7, seconds=200.0), 100.0)
    assert line == (
        "5,000 of 20,000 done, 7 failed, 15,000 left, 40.0 images/s, 6 min left, 0.50 a million at 0.036 a core-hour"
    )


def test_the_pace_is_that_of_the_last_two_minutes():
    pace = Pace(total=10**6, earlier=0, price=1.0)
    for second in range(0, 1000, 10):
        line = pace.line(Count(done=second * (1 if second < 500 else 2)), float(second))
    assert " 2.0 images/s" in line


def test_nothing_done_yet_has_no_price():
    assert cost(Count(), 1.0) == "cost unknown yet"
    assert "unknown time left" in Pace(10, 0, 1.0).line(Count(), 0.0)


def test_a_log_gets_a_line_now_and_then_and_a_terminal_one_in_place(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr("veriphoto_client.catalogue.progress.time.monotonic", lambda: float(next(clock)))
    out = io.StringIO()
    with ProgressLine(Console(file=out), Pace(100, 0, 1.0)) as line:
        for done in range(20):
            line.show(Count(done=done, seconds=done))
    assert out.getvalue().count("of 100 done") == 3


@pytest.mark.parametrize("wrong", [{"rows_per_file": 0}, {"tries": 0}, {"workers": 0}, {"price": -1.0}])
def test_options_out_of_range(wrong):
    with pytest.raises(UsageError):
        CatalogueOptions(source="a", output="b", **wrong)
