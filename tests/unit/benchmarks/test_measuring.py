"""The benchmarks' own arithmetic, and the load generator against a small real server."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.load import Load, close_connections
from benchmarks.processes import cpu_seconds, peak_rss_mb, tree
from benchmarks.rounds import Measured, in_turns, percentiles, spread
from benchmarks.saving import save_table


def test_ratios_are_taken_within_rounds() -> None:
    speeds = {"ours": iter([999.0, 10.0, 40.0, 90.0]), "theirs": iter([1.0, 5.0, 10.0, 30.0])}
    sides = {name: lambda s=speed: {"images_per_s": next(s)} for name, speed in speeds.items()}
    measured = in_turns(sides, 3, say=lambda _: None)
    assert measured.rates("ours") == [10.0, 40.0, 90.0], "the first block warms up and does not count"
    ratio = measured.ratio("ours", "theirs")
    assert ratio == {"median": 3.0, "low": 2.0, "high": 4.0, "rounds": 3}
    assert measured.median("ours", "images_per_s") == 40.0
    assert measured.median("ours", "p99_ms") is None


def test_without_a_warm_up_the_first_block_counts() -> None:
    speeds = iter([999.0, 10.0])
    measured = in_turns({"long": lambda: {"images_per_s": next(speeds)}}, 1, say=lambda _: None, warm_up=False)
    assert measured.rates("long") == [999.0]


def test_ratios_by_cpu_tell_who_costs_less() -> None:
    blocks = {"ours": [{"cpu_ms_per_image": 110.0}], "limit": [{"cpu_ms_per_image": 99.0}]}
    assert Measured(blocks).cpu_ratio("ours", "limit")["median"] == 0.9


def test_percentiles_are_of_the_latencies_given() -> None:
    seconds = [number / 1000.0 for number in range(1, 101)]
    assert percentiles(seconds) == {"p50_ms": 51.0, "p95_ms": 96.0, "p99_ms": 100.0}
    assert percentiles([]) == {}
    assert spread([2.0])["median"] == 2.0


class Slow(http.server.BaseHTTPRequestHandler):
    """Answers after 20 ms, and refuses bodies that begin with an R at once."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refused = body.startswith(b"R")
        if not refused:
            time.sleep(0.02)
        self.send_response(503 if refused else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/predict"
    close_connections()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_closed_loop_keeps_so_many_in_flight(url: str) -> None:
    load = Load([b"a", b"b"])
    one, four = (load.closed("body", url, width, 0.5) for width in (1, 4))
    assert one["refused"] == four["refused"] == 0
    assert min(one["latencies"]) >= 0.02
    assert four["images"] > 2 * one["images"]
    assert one["images_per_s"] == pytest.approx(one["images"] / one["seconds"])


def test_refusals_are_counted_apart(url: str) -> None:
    found = Load([b"a", b"R"]).closed("body", url, 2, 0.4)
    assert found["refused"] > 0
    assert found["images"] > 0
    assert found["refused_statuses"] == [503]
    assert len(found["latencies"]) == found["images"]


def test_an_open_loop_counts_waiting_from_the_moment_a_request_was_due(url: str) -> None:
    load = Load([b"a"])
    found = load.open("body", url, rate=100.0, seconds=0.5, callers=1)
    # One caller can serve 50 a second at most, so half of what is offered waits, longer and longer.
    assert found["offered_per_s"] > 60
    assert max(found["latencies"]) > 0.1
    assert found["latest_start_ms"] > 100
    with_room = load.open("body", url, rate=30.0, seconds=0.5, callers=32)
    assert with_room["images"] == pytest.approx(0.5 * with_room["offered_per_s"])


def test_a_process_tree_is_measured_whole() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 20
        while cpu_seconds(tree(process.pid)[1:]) < 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)
        pids = tree(process.pid)
        assert len(pids) == 2
        assert cpu_seconds(pids) >= 0.2
        assert peak_rss_mb(pids) > 5
    finally:
        for pid in reversed(tree(process.pid)):
            os.kill(pid, 9)
        process.wait()


def test_a_table_has_the_columns_of_all_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.saving.RESULTS", tmp_path)
    text = save_table("t", "Title", [{"a": 1, "b": 2.345}, {"a": 3, "c": None}]).read_text()
    assert text == "# Title\n\n| a | b | c |\n| --- | --- | --- |\n| 1 | 2.35 |  |\n| 3 |  |  |\n"
