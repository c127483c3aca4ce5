"""Child processes are restarted when they end, and end with the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.processes import runs

from veriphoto_serving import child_process as module
from veriphoto_serving.child_process import child_process

SLEEPER = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
OWNER = f"""
import sys, time
from pathlib import Path
from veriphoto_serving.child_process import child_process
with child_process({SLEEPER!r}, {{}}, Path(sys.argv[1])):
    time.sleep(60)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def started(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_what_is_killed_is_started_again_and_ends_with_the_block(tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    with child_process(SLEEPER, {}, log):
        for number in range(1, 3):
            wait_for(lambda: len(started(log)) == number)  # noqa: B023 - it is waited for here
            os.kill(started(log)[-1], signal.SIGKILL)
        wait_for(lambda: len(started(log)) == 3)
        assert runs(started(log)[-1])
    assert not runs(started(log)[-1])


def test_what_ends_at_once_is_not_started_all_the_time_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_PAUSES_S", (0.1, 60.0))
    log = tmp_path / "program.log"
    with child_process([sys.executable, "-c", "print(1)"], {}, log):
        wait_for(lambda: len(started(log)) == 2)
        time.sleep(0.5)
        assert started(log) == [1, 1]
        wait_for(lambda: len(caplog.records) == 2)  # the end is looked for twice a second
    assert [each.getMessage() for each in caplog.records] == [
        f"the program ended and starts again in {pause} s; {log} says why" for pause in ("0.1", "60")
    ]


def test_the_log_of_the_last_time_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    log.write_text("0\n")
    with child_process(SLEEPER, {}, log):
        wait_for(lambda: len(started(log)) == 1)
    assert (tmp_path / "program.log.1").read_text() == "0\n"


def test_it_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(log)])
    wait_for(lambda: len(started(log)) == 1)
    owner.kill()
    owner.wait()
    wait_for(lambda: not runs(started(log)[0]))
