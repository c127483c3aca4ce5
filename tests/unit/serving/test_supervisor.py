"""The supervisor's own steps; what it does to a real server is in tests/integration/test_launcher.py."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from benchmarks.processes import runs

from veriphoto_serving.triton import supervisor


def test_a_server_that_ends_as_it_is_asked_to_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launcher and server are killed at once: the server ends after the supervisor looked and before it signals."""
    server = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; exec sleep 60"], stdout=subprocess.PIPE, process_group=0
    )
    assert server.stdout is not None
    stub = int(server.stdout.readline())
    region = tmp_path / "region_1"
    region.touch()
    job = {"regions": str(tmp_path / "region"), "parent": -1, "grace_s": 5.0}

    def end_meanwhile(*_: object) -> None:
        server.kill()
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(signal, "sigtimedwait", end_meanwhile)
    supervisor._watch(server, job)
    assert supervisor._clean_up(server, job) == 128 + signal.SIGKILL
    assert not region.exists()
    server.stdout.close()
    # Only a subreaper, as the supervisor's own process is, waits for an orphan's end; here it comes a moment later.
    deadline = time.monotonic() + 10.0
    while runs(stub):
        assert time.monotonic() < deadline, "the stub outlived its server"
        time.sleep(0.01)
