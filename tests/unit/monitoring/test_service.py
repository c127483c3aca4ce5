"""The monitor as a process."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from veriphoto_monitoring import service as module
from veriphoto_monitoring.drift.monitor import DriftMonitor
from veriphoto_monitoring.service import Service, run
from veriphoto_monitoring.settings import MonitorSettings


def test_it_ends_with_its_worker_so_that_it_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: DriftMonitor, _seconds: float) -> bool:
        raise RuntimeError("a defect")

    monkeypatch.setattr(DriftMonitor, "work", fail)
    settings = MonitorSettings(var=tmp_path, log=tmp_path / "log", triton_metrics="", port=0)
    with pytest.raises(RuntimeError, match="a defect"):
        run(settings, ready=lambda _: None)


def test_a_store_that_fails_for_good_is_neither_health_nor_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SCRAPE_S", 0.01)
    monkeypatch.setattr(module, "_STUCK_S", 0.5)
    service = Service(MonitorSettings(var=tmp_path, log=tmp_path / "log", triton_metrics=""))
    service.start()
    try:
        assert service.healthy()
        with monkeypatch.context() as broken:
            broken.setattr(DriftMonitor, "work", _full_disk)
            _eventually(lambda: not service.healthy())
            assert service.status()["status"].startswith("the monitor stands still")
            assert service.status()["drift_detected"] is None
        _eventually(service.healthy)
    finally:
        service.stop()


def _full_disk(_: DriftMonitor, _seconds: float) -> bool:
    raise sqlite3.OperationalError("database or disk is full")


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
