"""A ``veriphoto serve`` to attack: its own ports and runtime directory, its gateway in a memory control group."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.processes import proportional_mb, tree
from benchmarks.servers import ROOT, wait_until_answers

from veriphoto.contract import LOGIT
from veriphoto.second_opinion import Mode
from veriphoto.variants import AUTO
from veriphoto_client.local.model import ModelPackage
from veriphoto_client.local.processes import LocalModel
from veriphoto_serving.gateway.health.workers import model_of, stubs
from veriphoto_serving.gateway.middleware.memory import limit_files
from veriphoto_serving.triton.ports import free_ports

_PORTS: Final = ("http", "grpc", "metrics", "gateway", "sidecar", "page")
_MARKS: Final = {
    b"supervisor.py": "supervisor",
    b"tritonserver": "tritonserver",
    b"monitor": "monitor",
    b"streamlit": "page",
}
"""Words of command lines, without their folders."""
_UPLOADS_MB: Final = 423
"""What a gateway takes for uploads in a container of 1 GiB of its own; here it would leave room for Triton, too."""
_PEAKS: Final = ("memory.peak", "memory.max_usage_in_bytes")
_NOTHING: Final = 0
"""Stands for a status where there was no answer at all."""


class Service:
    """A running service."""

    def __init__(self, var: Path, group: Path | None) -> None:
        """Chooses ports; starts nothing.

        Args:
            var: Its runtime directory.
            group: The memory control group for its gateway; None for none.
        """
        ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self.url = f"http://127.0.0.1:{ports['gateway']}"
        self.log = var / "serve.log"
        numbers = [f"--{name}-port={port}" for name, port in ports.items()]
        budget = [f"--max-buffered-mb={_UPLOADS_MB}"] if group else []
        page = ["--page"] if importlib.util.find_spec("streamlit") else []
        command = str(Path(sys.executable).parent / "veriphoto")
        self._command = [command, "serve", "--no-samples", f"--var={var}", *page, *numbers, *budget]
        self._group = group
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._confine, daemon=True)

    def start(self) -> float:
        """Starts it; returns the seconds until it serves."""
        enter = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(self._group / "cgroup.procs")] if self._group else []
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*enter, *self._command], cwd=ROOT, stdout=log, stderr=log)
        if not self._keeper.ident:
            self._keeper.start()
        return wait_until_answers(f"{self.url}/readyz", 300.0, self._process)

    def stop(self) -> None:
        """Stops it."""
        self._over.set()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
        self.reap()

    def reap(self) -> None:
        """Waits until the gateway has ended."""
        if self._process is not None:
            self._process.wait(60)

    @property
    def pid(self) -> int:
        """The gateway's process."""
        return self._process.pid if self._process else 0

    def processes(self) -> dict[str, int]:
        """Returns the service's processes by what they do; of a model's several the newest."""
        found = {"gateway": self.pid}
        for pid in tree(self.pid)[1:]:
            with suppress(OSError):
                words = [word.rpartition(b"/")[2] for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
                found |= {name: pid for mark, name in _MARKS.items() if mark in words}
        models = stubs(found.get("tritonserver", 0))
        return found | {model_of(instance): pid for pid, instance in sorted(models.items())}

    def counted(self, outcome: str) -> int:
        """Returns how often its watchdog has done something: ``restart``, ``replace``, ``late``."""
        _, body = ask(f"{self.url}/metrics")
        mark = f'veriphoto_gateway_canary_total{{outcome="{outcome}"}}'
        return next((int(float(line.split()[-1])) for line in body.decode().splitlines() if line.startswith(mark)), 0)

    @property
    def memory_mb(self) -> float:
        """What the gateway holds now."""
        return round(proportional_mb([self.pid]), 1)

    @property
    def peak_mb(self) -> float | None:
        """The most that the gateway's control group has held; None without one."""
        peaks = [self._group / name for name in _PEAKS if (self._group / name).exists()] if self._group else []
        return round(int(peaks[0].read_text()) / 1e6, 1) if peaks else None

    def _confine(self) -> None:
        """Puts what the gateway has started out of its group."""
        while self._group is not None and not self._over.wait(0.1):
            with suppress(OSError):
                for pid in {int(pid) for pid in (self._group / "cgroup.procs").read_text().split()} - {self.pid}:
                    (self._group.parent / "cgroup.procs").write_text(str(pid))


@contextmanager
def memory_group(limit: int) -> Iterator[Path | None]:
    """Makes a memory control group of that many bytes; None where none can be made."""
    for file in limit_files():
        group = file.parent / f"veriphoto-soak-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            with suppress(OSError):
                (group / file.name).write_text(str(limit))
                yield group
                return
        finally:
            _remove(group)
    yield None


def _remove(group: Path) -> None:
    """Removes a group once its last process has gone."""
    for _ in range(50):
        with suppress(OSError):
            group.rmdir()
        if not group.exists():
            return
        time.sleep(0.1)


def known_answers(photos: Sequence[bytes]) -> list[float]:
    """Scores photos in this process, as ``veriphoto scan --engine local`` does, and returns their logits."""
    judge = ModelPackage.read(LocalModel.find(ROOT / "model_repository").directory, AUTO, Mode.AUTO).open()
    return [float(judge.tensors(photo)[LOGIT].item()) for photo in photos]


def ask(url: str, body: bytes | None = None, patience: float = 60.0) -> tuple[int, bytes]:
    """Sends one request over a connection of its own: a POST where there is a body.

    Returns:
        Status and body; 0 for a connection that was refused, lost, or late.
    """
    parts = urlsplit(url)
    line = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=patience)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before all of it was sent
            line.request("GET" if body is None else "POST", parts.path, body, {"Content-Type": "image/*"})
        answer = line.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return _NOTHING, b""
    finally:
        line.close()


def fields(body: bytes) -> dict[str, Any]:
    """Reads an answer; empty where it is none."""
    with suppress(ValueError):
        found = json.loads(body)
        return found if isinstance(found, dict) else {}
    return {}
