"""What the README tells people to type beside a running server, typed beside one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from veriphoto.contract import GATEWAY_PORT, SIDECAR_PORT, TRITON_GRPC_PORT, TRITON_HTTP_PORT
from veriphoto_serving.triton.ports import free_ports

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|console|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r"^make |veriphoto (data|train|evaluate|export) ")
"""Installs, or needs hundreds of photos and minutes: the tests of those parts do that."""

pytestmark = pytest.mark.triton


def typed() -> list[str]:
    lines = []
    for language, body in BLOCKS:
        if language == "python":
            lines.append(f"{sys.executable} - <<'END'\n{body}END")
            continue
        joined = body.replace("\\\n", " ").splitlines()
        lines += [line.removeprefix("$ ") for line in joined if language == "sh" or line.startswith("$ ")]
    return [line for line in lines if line.strip() and not ELSEWHERE.search(line)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A checkout of links with a server in it, and what stands in for the usual ports."""
    home = tmp_path_factory.mktemp("readme")
    for name in ("model_repository", "samples"):
        (home / name).symlink_to(ROOT / name)
    (home / ".venv" / "bin").mkdir(parents=True)
    (home / ".venv" / "bin" / "veriphoto").symlink_to(Path(sys.executable).parent / "veriphoto")
    for photo in (ROOT / "samples").glob("*_*"):
        kind = "ai/generator" if photo.name.startswith("ai_") else "real/shop"
        (home / "DIR" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, home / "DIR" / kind)
    http, grpc, metrics, gateway, sidecar = free_ports(5)
    ports = {TRITON_HTTP_PORT: http, TRITON_GRPC_PORT: grpc, GATEWAY_PORT: gateway, SIDECAR_PORT: sidecar}
    options = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    options += [f"--gateway-port={gateway}", f"--sidecar-port={sidecar}", "--no-samples"]
    with (home / "serve.out").open("w+") as log:
        command = [".venv/bin/veriphoto", "serve", *options]
        server = subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert server.stdout is not None
            with server.stdout:
                said = iter(server.stdout.readline, "")
                assert any("Ctrl-C" in line for line in said), (home / "serve.out").read_text()
                yield home, {str(usual): str(own) for usual, own in ports.items()}
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def test_every_command_works_in_the_order_of_the_page(place: tuple[Path, dict[str, str]]) -> None:
    home, ports = place
    environment = {**os.environ, "VERIPHOTO_URL": f"http://127.0.0.1:{ports[str(TRITON_HTTP_PORT)]}"}
    environment["VERIPHOTO_MONITOR_URL"] = f"http://127.0.0.1:{ports[str(SIDECAR_PORT)]}"
    lines = typed()
    assert len(lines) >= 7
    for line in lines:
        own = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: ports.get(found[0], found[0]), line)
        done = subprocess.run(
            ["/bin/sh", "-c", own], cwd=home, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip() or "--output" in line, line
