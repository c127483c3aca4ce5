"""Servers to measure: our own, started as in production, and one block of load on any of them."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from benchmarks.processes import Worker, cpu_seconds, peak_rss_mb, tree
from benchmarks.rounds import percentiles

from veriphoto.second_opinion import Mode
from veriphoto_client.triton.http import infer_url
from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import TritonOptions
from veriphoto_serving.triton.ports import free_ports

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Served:
    """A Triton and a gateway."""

    triton: TritonServer
    gateway_url: str = ""
    gateway_pid: int = 0

    @property
    def raw_url(self) -> str:
        """Where Triton takes a raw file."""
        return infer_url(self.triton.http_url)

    @property
    def triton_pids(self) -> list[int]:
        """Triton's processes."""
        return tree(self.triton.pid) if self.triton.pid else []

    def way(self, name: str) -> tuple[str, str]:
        """Returns the sender and the address of one of the ways in."""
        return {
            "raw": ("raw", self.raw_url),
            "tritonclient-http": ("tritonclient-http", self.raw_url),
            "tritonclient-grpc": ("tritonclient-grpc", f"grpc://{self.triton.grpc_url}"),
            "gateway": ("body", f"{self.gateway_url}/predict"),
        }[name]

    def pids(self, name: str) -> list[int]:
        """Returns the processes that answer on one of the ways in."""
        return [*self.triton_pids, self.gateway_pid] if name == "gateway" else self.triton_pids


@contextmanager
def triton(
    variant: str = "fp32", repository: Path = ROOT / "model_repository", second_opinion: Mode = Mode.OFF
) -> Iterator[Served]:
    """Starts a Triton on free ports; by default with the classifier alone, which is what peers and limit run too."""
    with tempfile.TemporaryDirectory() as var, mock.patch.dict(os.environ, {"VERIPHOTO_VARIANT": variant}):
        options = TritonOptions(
            model_repository=repository,
            var=Path(var),
            http_port=0,
            grpc_port=0,
            metrics_port=0,
            second_opinion=second_opinion,
        )
        with TritonServer(options) as server:
            yield Served(server)


@contextmanager
def with_gateway(served: Served) -> Iterator[Served]:
    """Starts a gateway before a Triton, in a process of its own, as in production."""
    (port,) = free_ports(1)
    code = (
        "from veriphoto_serving.gateway.server import run\n"
        "from veriphoto_serving.gateway.settings import GatewaySettings\n"
        f"run(GatewaySettings(gateway_port={port}, triton_url='grpc://{served.triton.grpc_url}', drain=0,"
        " canary_timeout=30))"
    )
    gateway = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_until_answers(f"http://127.0.0.1:{port}/readyz")
        yield Served(served.triton, f"http://127.0.0.1:{port}", gateway.pid)
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(30)


def wait_until_answers(url: str, seconds: float = 120.0, process: subprocess.Popen[bytes] | None = None) -> float:
    """Waits until an address answers a GET with 200; returns the seconds that it took."""
    started, parts = time.monotonic(), urlsplit(url)
    while time.monotonic() < started + seconds:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the server for {url} ended with {process.returncode}")
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
        try:
            connection.request("GET", parts.path or "/")
            if connection.getresponse().status == http.client.OK:
                return time.monotonic() - started
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise TimeoutError(url)


def measure(load: Worker, order: Mapping[str, Any], pids: list[int]) -> dict[str, Any]:
    """Has the load generator run one block against some processes.

    Returns:
        images/s, latency percentiles in milliseconds, CPU milliseconds an image of servers and load generator, peak
        resident memory in MB, refusals.
    """
    before = cpu_seconds(pids)
    answer = load.ask(dict(order))
    used = cpu_seconds(pids) - before
    images = max(1, answer["images"])
    refusals = percentiles(answer["refused_latencies"])
    return {
        "images": answer["images"],
        "images_per_s": answer["images_per_s"],
        **percentiles(answer["latencies"]),
        "cpu_ms_per_image": round(1000.0 * used / images, 2),
        "load_cpu_ms_per_image": round(1000.0 * answer["load_cpu"] / images, 2),
        "peak_rss_mb": round(peak_rss_mb(pids), 1),
        "refused": answer["refused"],
        "refused_statuses": answer["refused_statuses"],
        "statuses": answer["statuses"],
        **({"refused_p99_ms": refusals["p99_ms"]} if refusals else {}),
        **({key: round(answer[key], 2) for key in ("offered_per_s", "latest_start_ms") if key in answer}),
    }
