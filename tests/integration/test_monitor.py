"""`veriphoto monitor` as a process of its own: killed at any time, it loses nothing and counts nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
from drift_traffic import as_probe, draw, reference, write

from veriphoto_monitoring.reference import baseline
from veriphoto_monitoring.reference.baseline import LEAST

PATIENCE_S = 120.0


class Monitor:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read().decode()

    def wait(self, done) -> dict:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            status = json.loads(self.get("/drift"))
            if done(status):
                return status
            time.sleep(0.2)
        raise AssertionError(f"still {status['log']}, {status['status']}")


@contextmanager
def monitor(var: Path) -> Iterator[Monitor]:
    environment = {**os.environ, "VERIPHOTO_VAR": str(var), "VERIPHOTO_MONITOR_PORT": "0"}
    command = [
        sys.executable,
        "-m",
        "veriphoto_client",
        "monitor",
        "--model-repository",
        str(var / "models"),
        "--triton-metrics",
        "http://127.0.0.1:9/metrics",
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listens at " in line, process.stderr.read() if process.stderr else ""
        yield Monitor(process, line.split("listens at ")[1].strip())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def var(tmp_path: Path) -> Path:
    baseline.write(tmp_path / "monitor" / "baseline.json", reference())
    return tmp_path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "veriphoto_client", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_kills_lose_nothing_and_count_nothing_twice(var: Path):
    records = draw(12_000, 1)
    log = var / "predictions"
    written = 0
    # The last stretch is long enough that a kill falls into the middle of it.
    for number, upto in enumerate((700, 1500, 12_000)):
        write(log, records[written:upto], writer="ab"[number % 2], nanoseconds=number + 1)
        written = upto
        with monitor(var) as one:
            if number < 2:
                one.wait(lambda status, n=upto: 0 < status["log"]["records"] <= n)
            one.process.send_signal(signal.SIGKILL)
    write(log, [as_probe(record) for record in records[:50]], writer="c", nanoseconds=1)
    with monitor(var) as one:
        status = one.wait(lambda status: status["log"]["records"] >= len(records))
        time.sleep(2.5)  # time to count something twice
        status = json.loads(one.get("/drift"))
    assert status["log"] == {**status["log"], "records": len(records), "bad_lines": 0, "reachable": True}
    assert status["windows"][1]["images"] == 5000


def test_drift_is_seen_by_everyone_who_asks(var: Path):
    log = var / "predictions"
    write(log, draw(2000, 2))
    with monitor(var) as one:
        assert one.wait(lambda status: status["log"]["records"] == 2000)["drift_detected"] is False
        quiet = run("drift", "--url", one.url)
        assert quiet.returncode == 0, quiet.stderr
        write(log, draw(1500, 3, blockier=0.5, prefix="blocky"))
        status = one.wait(lambda status: status["drift_detected"])
        assert "blockiness" in {alert["statistic"] for alert in status["alerts"]}
        assert 'veriphoto_drift_alarm{statistic="blockiness",window="1000"} 1.0' in one.get("/metrics")
        assert json.loads(one.get("/health")) == {"status": "ok"}
        report = var / "report.html"
        found = run("drift", "--url", one.url, "--report", str(report))
        assert found.returncode == 1
        assert "blockiness higher" in found.stdout
        assert "blocky-" in found.stdout
        assert "blockiness: window against reference" in report.read_text()
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(timeout=30) in (0, -signal.SIGTERM)
        with pytest.raises((URLError, HTTPError, OSError)):
            one.get("/health")
    away = run("drift", "--url", one.url)
    assert away.returncode == 2
    assert "service_unavailable" in away.stderr


def test_a_baseline_needs_enough_pictures(var: Path):
    write(var / "predictions", draw(LEAST + 500, 4))
    arguments = ("drift", "baseline", "--var", str(var))
    made = run(*arguments)
    assert made.returncode == 0, made.stderr
    assert f"{LEAST + 500} pictures of model version 1" in made.stdout
    few = run(*arguments, "--since", "2025-10-09T09:30")
    assert few.returncode == 2
    assert "data_invalid" in few.stderr
