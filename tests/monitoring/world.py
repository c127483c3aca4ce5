"""Everything at once, and all of it real: Triton with the shipped model, the gateway, the sidecar, and Prometheus."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from promql import PROMETHEUS, ROOT

from veriphoto.prediction_log.record import SEGMENT_GLOB, Record, segment_name
from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import TritonOptions
from veriphoto_serving.triton.ports import free_ports

COMMAND = str(Path(sys.executable).parent / "veriphoto")
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix in (".jpg", ".png", ".webp"))
PATIENCE_S = 300.0
"""For what takes a second or two on a machine that is not busy."""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_for(what: Callable[[], Any], why: str, seconds: float = PATIENCE_S) -> Any:
    """Waits until something is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class World:
    """What tests see of it."""

    gateway: str
    prometheus: str
    triton: str
    var: Path
    environment: dict[str, str]

    def run(self, *arguments: str | Path) -> str:
        """Runs a ``veriphoto`` command that must succeed."""
        done = subprocess.run(
            [COMMAND, *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def post(self, route: str, body: bytes, kind: str = "application/octet-stream") -> str:
        """Sends a request to the gateway; whatever it answers.

        Returns:
            The request id.
        """
        request = urllib.request.Request(f"{self.gateway}{route}", body, {"Content-Type": kind})
        request.add_header("X-Request-ID", uuid.uuid4().hex)
        try:
            with _OPENER.open(request, timeout=PATIENCE_S) as answer:
                return str(answer.headers["X-Request-ID"])
        except urllib.error.HTTPError as error:
            with error:
                return str(error.headers["X-Request-ID"])

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Asks Prometheus for the present values."""
        return self.api("query", query=expression)["result"]

    def value(self, expression: str) -> float:
        """Asks Prometheus for one number; NaN where there is none."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else float("nan")

    def firing(self, name: str) -> list[dict[str, Any]]:
        """Alerts of a name that fire now."""
        return [
            each
            for each in self.api("alerts")["alerts"]
            if each["labels"]["alertname"] == name and each["state"] == "firing"
        ]

    def api(self, route: str, **parameters: str) -> Any:
        """Asks Prometheus' API."""
        with _OPENER.open(
            f"{self.prometheus}/api/v1/{route}?{urllib.parse.urlencode(parameters)}", timeout=30
        ) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return body["data"]

    def records(self, ids: Sequence[str]) -> list[Record]:
        """Waits for the log's lines about some requests, and reads them."""

        def found() -> list[Record]:
            lines = [
                line
                for path in (self.var / "predictions").glob(SEGMENT_GLOB)
                for line in path.read_text().splitlines(keepends=True)
                if line.endswith("\n")
            ]
            records = {record.request_id: record for record in map(Record.from_line, lines)}
            return [records[each] for each in ids] if set(ids) <= set(records) else []

        return wait_for(found, "the recorder wrote no line of a picture that was scored")

    def replay(self, records: Sequence[Record], count: int, seed: int) -> None:
        """Has the log say that pictures like these came many times: so much real traffic would take minutes.

        Each line is one that the recorder wrote of a picture that was scored, with a new time and id.
        """
        random = np.random.default_rng(seed)
        now = time.time()
        lines = [
            replace(records[place], time=now + number / 1000, request_id=uuid.uuid4().hex).to_line()
            for number, place in enumerate(random.integers(len(records), size=count))
        ]
        path = self.var / "predictions" / segment_name("replay", time.time_ns())
        path.write_text("".join(lines))


@contextlib.contextmanager
def world(var: Path) -> Iterator[World]:
    """Starts everything on free ports, and stops it."""
    options = TritonOptions(
        model_repository=ROOT / "model_repository", var=var, http_port=0, grpc_port=0, metrics_port=0
    )
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(TritonServer(options))
        environment = {
            **os.environ,
            "VERIPHOTO_URL": f"http://{server.http_url}",
            "VERIPHOTO_TRITON_URL": f"grpc://{server.grpc_url}",
            "VERIPHOTO_TRITON_METRICS": f"http://{server.metrics_url}/metrics",
            "VERIPHOTO_MODEL_REPOSITORY": str(ROOT / "model_repository"),
            "VERIPHOTO_VAR": str(var),
            "COLUMNS": "160",
        }
        gateway = stack.enter_context(_started([COMMAND, "gateway", "--gateway-port=0"], environment))
        sidecar = stack.enter_context(_started([COMMAND, "monitor", "--port=0"], environment))
        environment["VERIPHOTO_MONITOR_URL"] = sidecar
        (port,) = free_ports(1)
        targets = {"gateway": gateway, "triton": f"http://{server.metrics_url}", "sidecar": sidecar}
        stack.enter_context(_prometheus(var / "prometheus", port, targets))
        yield World(gateway, f"http://127.0.0.1:{port}", server.http_url, var, environment)


@contextlib.contextmanager
def _started(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Starts a service and returns the address that it prints."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    with process, process.stdout:
        try:
            said = ""
            while not (address := re.search(r"http://127\.0\.0\.1:\d+", said)):
                line = process.stdout.readline()
                assert line, f"{command}: {said}"
                said += line
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield address[0]
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def _prometheus(home: Path, port: int, targets: dict[str, str]) -> Iterator[None]:
    """Starts Prometheus with the project's configuration: only the pace and the addresses are others."""
    shutil.copytree(PROMETHEUS, home)
    configuration = yaml.safe_load((home / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (home / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    for name, address in targets.items():
        target = [{"targets": [urllib.parse.urlsplit(address).netloc]}]
        (home / "targets" / f"{name}.yml").write_text(yaml.safe_dump(target))
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, stdout=log, stderr=log)
        try:
            ready = f"http://127.0.0.1:{port}/-/ready"
            wait_for(lambda: _answers(ready) or process.poll() is not None, "Prometheus is not ready")
            assert process.poll() is None, (home / "log").read_text()
            yield
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        with _OPENER.open(url, timeout=5):
            return True
    except OSError:
        return False


def recompressed(path: Path, quality: int = 25) -> bytes:
    """A sample as a shop's new image service may hand it on: smaller, and saved as JPEG of low quality."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((320, 320))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
