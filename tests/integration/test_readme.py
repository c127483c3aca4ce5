"""What the README tells people to type, typed in its order, beside a running server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from veriphoto.contract import GATEWAY_PORT, SIDECAR_PORT, TRITON_GRPC_PORT, TRITON_HTTP_PORT
from veriphoto_serving.triton.ports import free_ports

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|console|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r"^make |/pip install ")
"""Installs: the tests run in what it has installed."""
FOUND_SOMETHING = re.compile(r"veriphoto data audit ")
"""Ends with 1 where photos give their class away, as those of so few sources do."""

SIDE = 240

pytestmark = [pytest.mark.triton, pytest.mark.timeout(900)]


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
        label, source = ("ai", "generator") if photo.name.startswith("ai_") else ("real", "shop")
        folder, kept_out = home / "DIR" / label / source, home / "DIR" / label / "NAME"
        for each in (folder, kept_out):
            each.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as opened:
            whole = opened.convert("RGB")
        # Two parts of each: training keeps some photos for itself, of both classes.
        right, low = whole.width - SIDE, whole.height - SIDE
        for at, name, left, top in ((folder, "a", 0, 0), (folder, "b", right, low), (kept_out, "c", right, 0)):
            whole.crop((left, top, left + SIDE, top + SIDE)).save(at / f"{photo.stem}_{name}.jpg", quality=90)
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
    triton = f"http://127.0.0.1:{ports[str(TRITON_HTTP_PORT)]}"
    environment = {**os.environ, "VERIPHOTO_URL": triton, "VERIPHOTO_TRITON_URL": triton}
    environment["VERIPHOTO_MONITOR_URL"] = f"http://127.0.0.1:{ports[str(SIDECAR_PORT)]}"
    lines = typed()
    assert len(lines) >= 7
    for line in lines:
        own = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: ports.get(found[0], found[0]), line)
        done = subprocess.run(
            ["/bin/sh", "-c", own], cwd=home, env=environment, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode in ((0, 1) if FOUND_SOMETHING.search(line) else (0,)), (
            f"{line}\n{done.stdout}{done.stderr}"
        )
        assert done.stdout.strip() or "--output" in line, line
