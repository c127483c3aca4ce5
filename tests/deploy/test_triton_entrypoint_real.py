"""The container's entry point starts a real tritonserver with compose's flags."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import ROOT, compose

from veriphoto_client import Detector
from veriphoto_serving.triton import shared_memory
from veriphoto_serving.triton.installation import child_environment, find_installation, link
from veriphoto_serving.triton.options import ADMIN_HEADER, BACKENDS_DIRECTORY
from veriphoto_serving.triton.ports import LOOPBACK, free_ports

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

KEY = "a-key-of-this-test"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server under compose's flags; only what a container changes is changed: places, ports, the wheel's backends."""
    installation = find_installation()
    if installation is None or installation.wheel is None:
        pytest.skip("the wheel's tritonserver is not installed here")
    backend = tmp_path / BACKENDS_DIRECTORY / "python"
    backend.mkdir(parents=True)
    for name, file in installation.python_backend.items():
        link(file, backend / name)
    link(ROOT / "model_repository", tmp_path / "models")
    ports = free_ports(3)
    prefix = f"triton_python_backend_shm_region_veriphoto_{os.getpid()}_"
    flags = [place(flag, dict(zip(("8000", "8001", "8002"), ports, strict=True)), prefix) for flag in command()]
    (tmp_path / "key").write_text(KEY)
    environment = child_environment(installation)
    environment["PATH"] += os.pathsep + str(installation.binary.parent)
    environment |= {
        "VERIPHOTO_TRITON_ADMIN_KEY_FILE": str(tmp_path / "key"),
        "VERIPHOTO_FLAVOUR": "embedded",
        "VERIPHOTO_PREDICTION_LOG": str(tmp_path / "predictions"),
    }
    with (tmp_path / "log").open("wb") as log:
        entry = [ROOT / "docker" / "triton-entrypoint.sh", *flags, f"--backend-directory={BACKENDS_DIRECTORY}"]
        process = subprocess.Popen(entry, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_ready(f"http://{LOOPBACK}:{ports[0]}", process, tmp_path / "log")
        yield f"http://{LOOPBACK}:{ports[0]}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shared_memory.remove(prefix)


def command() -> list[str]:
    found: list[str] = compose()["services"]["triton-cpu"]["command"]
    return found


def place(flag: str, ports: dict[str, int], prefix: str) -> str:
    name, _, value = flag.partition("=")
    if name.endswith("-port"):
        return f"{name}={ports[value]}"
    if name.endswith("-address"):
        return f"{name}={LOOPBACK}"
    if name == "--model-repository":
        return f"{name}=models"
    return f"--backend-config=python,shm-region-prefix-name={prefix}" if "shm-region" in flag else flag


def wait_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/v2/health/ready", timeout=5):
            return
        time.sleep(0.2)
    pytest.fail(f"not ready: {log.read_text(errors='replace')[-2000:]}")


def status(url: str, key: str = "") -> int:
    request = urllib.request.Request(url, data=b"", headers={ADMIN_HEADER: key} if key else {}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_it_scores_and_its_administration_needs_the_key(address: str) -> None:
    with Detector(address, timeout=60.0) as detector:
        assert detector.predict(ROOT / "samples" / "ai_office_chair.jpg").second_opinion.first_probability > 0.7
    index = f"{address}/v2/repository/index"
    assert [status(index), status(index, "wrong"), status(index, KEY)] == [403, 403, 200]
