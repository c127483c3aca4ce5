"""The drift monitor that ``veriphoto serve`` starts: real log, real metrics, and no part in the answers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.processes import runs
from processes import output_until
from toy_model import SAMPLES, copy_repository, publish_toy

COMMAND = str(Path(sys.executable).parent / "veriphoto")
FREE_PORTS = ["--http-port=0", "--grpc-port=0", "--metrics-port=0", "--gateway-port=0", "--sidecar-port=0"]
PICTURE = SAMPLES[0].read_bytes()

pytestmark = pytest.mark.triton


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def monitors(parent: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, ppid = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            words = (process / "cmdline").read_text().split("\0")
        except (OSError, IndexError):
            continue
        if int(ppid) == parent and state not in "ZX" and "monitor" in words:
            found.append(int(process.name))
    return found


class Served:
    """A running ``veriphoto serve`` with a monitor."""

    def __init__(self, repository: Path, var: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [
                COMMAND,
                "serve",
                "--no-samples",
                f"--var={var}",
                f"--model-repository={repository}",
                *FREE_PORTS,
                *options,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        self.output = output_until(self.process, "Ctrl-C")
        self.url = re.findall(r"serves at (http://127\.0\.0\.1:\d+)", self.output)[0]
        eventually(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, 180)

    def drift(self) -> dict[str, Any]:
        return httpx.get(f"{self.url}/drift", timeout=10).json()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = copy_repository(tmp_path_factory.mktemp("monitored") / "models")
    publish_toy(repository, 1)
    return repository


@pytest.fixture
def served(repository: Path, tmp_path: Path) -> Iterator[Served]:
    running = Served(repository, tmp_path / "var")
    yield running
    if running.process.poll() is None:
        running.stop()


def test_the_gateway_shows_what_the_monitor_says_and_does_without_it(served: Served) -> None:
    assert "drift is watched: http://127.0.0.1:" in served.output
    for _ in range(5):
        assert httpx.post(f"{served.url}/predict", content=PICTURE, timeout=60).status_code == 200
    eventually(lambda: served.drift().get("log", {}).get("records") == 5)
    report = served.drift()
    assert report["state"] == "unknown"
    assert report["drift_detected"] is None
    assert report["model_version"] == 1
    assert list(report["tritons"].values()) == [True]
    eventually(lambda: httpx.get(f"{served.url}/health").json()["drift"] == {"state": "unknown"})

    [monitor] = monitors(served.process.pid)
    os.kill(monitor, signal.SIGKILL)
    assert httpx.get(f"{served.url}/health").status_code == 200
    eventually(lambda: monitors(served.process.pid) not in ([], [monitor]))  # it is started again
    eventually(lambda: served.drift().get("log", {}).get("records", 0) >= 5)
    assert httpx.post(f"{served.url}/predict", content=PICTURE, timeout=60).status_code == 200
    assert served.stop() == 0


def test_it_ends_with_the_server(served: Served) -> None:
    [monitor] = monitors(served.process.pid)
    assert served.stop() == 0
    assert not Path(f"/proc/{monitor}").exists()


def test_it_ends_with_a_server_that_is_killed(served: Served) -> None:
    [monitor] = monitors(served.process.pid)
    served.process.kill()
    served.process.wait()
    assert served.process.stdout is not None
    served.process.stdout.close()
    eventually(lambda: not runs(monitor), 20)


class OtherMonitor(BaseHTTPRequestHandler):
    """Another server's monitor, which sees drift."""

    def do_GET(self) -> None:
        body = b'{"drift_detected": true}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_another_servers_monitor_is_not_asked(repository: Path, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherMonitor) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        running = Served(repository, tmp_path / "var", f"--sidecar-port={other.server_port}")
        try:
            assert f"port {other.server_port} is taken by process" in running.output
            assert "; drift is not watched" in " ".join(running.output.split())
            assert monitors(running.process.pid) == []
            # Its usual port, which it would ask otherwise, may be free on this machine.
            assert running.drift()["detail"] == "this server has no drift monitor; drift is not being watched"
            assert httpx.get(f"{running.url}/health").json()["drift"] == {"state": "away"}
        finally:
            other.shutdown()
            assert running.stop() == 0


def test_one_that_runs_elsewhere_is_asked_and_named_and_none_is_started(repository: Path, tmp_path: Path) -> None:
    """``test_gateway.py`` leaves it out by ``--no-monitor``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherMonitor) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}/drift"
        running = Served(repository, tmp_path / "var", f"--sidecar-url={url}")
        try:
            assert f"no drift monitor is started here: the gateway asks the one at {url}\n" in running.output
            assert "drift is" not in running.output
            assert monitors(running.process.pid) == []
            assert running.drift()["state"] == "drift"
        finally:
            other.shutdown()
            assert running.stop() == 0
