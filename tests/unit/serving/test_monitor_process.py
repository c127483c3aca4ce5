"""What the drift monitor beside the server is told about it, and when there is none."""

from __future__ import annotations

import io
import os
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from rich.console import Console

from veriphoto.locks import take_folder
from veriphoto.second_opinion import MODE_VARIABLE, Mode
from veriphoto_serving.monitor import serve_monitor
from veriphoto_serving.service import _monitor
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


def test_there_is_none_where_another_servers_has_the_state(tmp_path: Path) -> None:
    server: Any = SimpleNamespace(options=TritonOptions(var=tmp_path))
    told = io.StringIO()
    with ExitStack() as stack:
        assert _monitor(Console(file=told), server, 0, stack) is not None
        (tmp_path / "monitor").mkdir()
        handle = take_folder(tmp_path / "monitor")
        assert handle is not None
        stack.callback(os.close, handle)
        assert _monitor(Console(file=told), server, 0, stack) is None
    assert "drift is not watched: another drift monitor uses" in told.getvalue()
