"""The monitor as a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from veriphoto_monitoring.drift.monitor import DriftMonitor
from veriphoto_monitoring.service import run
from veriphoto_monitoring.settings import MonitorSettings


def test_it_ends_with_its_worker_so_that_it_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: DriftMonitor, _seconds: float) -> bool:
        raise RuntimeError("a defect")

    monkeypatch.setattr(DriftMonitor, "work", fail)
    settings = MonitorSettings(var=tmp_path, log=tmp_path / "log", triton_metrics="", port=0)
    with pytest.raises(RuntimeError, match="a defect"):
        run(settings, ready=lambda _: None)
