"""What the drift monitor beside the server is told about it."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from veriphoto.second_opinion import MODE_VARIABLE, Mode
from veriphoto_serving.monitor import serve_monitor
from veriphoto_serving.triton.options import TritonOptions


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.ALWAYS])
def test_it_knows_when_the_second_opinion_is_asked(mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MODE_VARIABLE, raising=False)
    options = TritonOptions(model_repository=tmp_path, var=tmp_path, second_opinion=mode)
    with serve_monitor(options, 0):
        deadline = time.monotonic() + 15
        while not (started := [one for one in psutil.Process().children() if "monitor" in one.cmdline()]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert started[0].environ()[MODE_VARIABLE] == mode.value
