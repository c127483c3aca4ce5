"""The command ``veriphoto serve`` as a user runs it."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.processes import runs, tree
from processes import output_until

from veriphoto.contract import TRITON_GRPC_PORT, TRITON_HTTP_PORT, TRITON_METRICS_PORT
from veriphoto_serving.triton import shared_memory
from veriphoto_serving.triton.ports import free_ports

ROOT = Path(__file__).parent.parent.parent
COMMAND = str(Path(sys.executable).parent / "veriphoto")
FREE_PORTS = ["--http-port=0", "--grpc-port=0", "--metrics-port=0", "--sidecar-port=0"]
FREE_GATEWAY = "--gateway-port=0"
GONE_S = 20.0

pytestmark = pytest.mark.triton


class Serving:
    """A running ``veriphoto serve`` that has said it is ready."""

    def __init__(self, var: Path) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--no-samples", f"--var={var}", *FREE_PORTS, FREE_GATEWAY],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as a terminal's foreground job: a group of its own
        )
        self.output = output_until(self.process, "Ctrl-C")
        self.children = set(tree(self.process.pid)[1:])
        self.server = next(pid for pid in self.children if command_line(pid)[0].endswith("/tritonserver"))
        setting = next(word for word in command_line(self.server) if "shm-region-prefix-name=" in word)
        self.prefix = setting.partition("shm-region-prefix-name=")[2]

    def left(self) -> set[int]:
        return {pid for pid in self.children if runs(pid)}

    def gone(self) -> bool:
        deadline = time.monotonic() + GONE_S
        while self.left() or shared_memory.regions(self.prefix):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def demo(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "serve", "--demo", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    served = Serving(tmp_path / "var")
    yield served
    if served.server in served.left():
        os.kill(served.server, signal.SIGKILL)  # an orderly stop takes seconds
    served.process.kill()
    served.process.wait()
    if served.process.stdout is not None:
        served.process.stdout.close()
    assert served.gone()


def test_says_where_it_serves(serving: Serving) -> None:
    triton = re.search(r"Triton is ready .*?http://127\.0\.0\.1:(\d+)", serving.output)
    gateway = re.search(r"serves at http://127\.0\.0\.1:(\d+)", serving.output)
    for found, route in ((triton, "/v2/models/detector/ready"), (gateway, "/healthz")):
        assert found is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
        connection.request("GET", route)
        assert connection.getresponse().status == 200
        connection.close()


def test_the_key_is_in_no_command_line(serving: Serving) -> None:
    for pid in {serving.process.pid, *serving.children}:
        assert set(re.findall(r"admin-key=(\w+)", " ".join(command_line(pid)))) <= {"x" * 64}


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ends_cleanly(serving: Serving, ending: signal.Signals) -> None:
    assert len(serving.children) > 2
    os.killpg(serving.process.pid, ending)
    assert serving.process.wait(GONE_S) == 0
    assert not serving.left()
    assert not shared_memory.regions(serving.prefix)


def test_being_killed_leaves_nothing_behind(serving: Serving) -> None:
    serving.process.kill()
    serving.process.wait()
    assert serving.gone()


def test_taken_ports_are_told_together_before_triton_starts(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        taken = {name: held_port(held) for name in ("--http-port", "--gateway-port", "--page-port", "--sidecar-port")}
        arguments = ["--no-samples", "--page", f"--var={tmp_path}", "--grpc-port=0", "--metrics-port=0"]
        arguments += [f"{name}={port}" for name, port in taken.items()]
        done = subprocess.run([COMMAND, "serve", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    said = " ".join((done.stdout + done.stderr).split())
    for name, port in taken.items():
        # The name of this process may hold anything but what the next port's message begins with.
        owner = rf"{os.getpid()} \((?:(?!is taken).)*"
        assert re.search(rf"port {port} is taken by process {owner}; stop that or choose another with {name}", said)
    assert "Triton is ready" not in said


def test_the_page_alone_says_what_to_do_about_a_taken_port() -> None:
    with contextlib.ExitStack() as held:
        port = held_port(held)
        command = [COMMAND, "page", f"--page-port={port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: [startup_failed] 127.0.0.1:{port} cannot be listened on: ")
    assert done.stderr.endswith("choose another with --page-port\n")


def test_demo_scores_the_samples(tmp_path: Path) -> None:
    done = demo(f"--var={tmp_path}", *FREE_PORTS)
    assert done.returncode == 0, done.stderr
    samples = [path.name for path in (ROOT / "samples").iterdir() if path.suffix in (".jpg", ".png", ".webp")]
    assert samples
    assert all(name in done.stdout for name in samples)
    known, _, misses = done.stdout.partition("Known misses")
    assert re.search(r"real_boots\.jpg\W+real\W+real\W+[\d.]+\W+yes", known)
    assert re.search(r"ai_pullover\.jpg\W+ai_generated\W+real\W+[\d.]+\W+no", misses)
    assert re.search(r"about \d in 10 AI product photos from sources it never saw; \d in 100 real", misses)
    assert all(step in misses for step in ("make page", "veriphoto scan DIR", "veriphoto calibrate --real DIR"))


def test_demo_takes_other_ports_where_the_usual_ones_are_taken(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        for port in (TRITON_HTTP_PORT, TRITON_GRPC_PORT, TRITON_METRICS_PORT):
            other = held.enter_context(socket.socket())
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # somebody else's server has it: as good
                other.bind(("127.0.0.1", port))
                other.listen()
        done = demo(f"--var={tmp_path}")
        assert done.returncode == 0, done.stderr
        ready = next(line for line in done.stdout.splitlines() if line.startswith("Triton is ready"))
        assert not {f":{TRITON_HTTP_PORT},", f":{TRITON_GRPC_PORT},"} & set(ready.split())
        chosen = demo(f"--var={tmp_path}", f"--http-port={free_ports(1)[0]}", f"--grpc-port={held_port(held)}")
    assert chosen.returncode == 2
    assert "choose another with --grpc-port" in chosen.stderr


def held_port(stack: contextlib.ExitStack) -> int:
    other = stack.enter_context(socket.socket())
    other.bind(("127.0.0.1", 0))
    other.listen()
    return int(other.getsockname()[1])


def test_demo_fails_if_a_sample_is_not_scored_and_works_in_paths_with_spaces(tmp_path: Path) -> None:
    home = tmp_path / "somebody's home"
    shutil.copytree(ROOT / "model_repository", home / "model_repository")
    (home / "samples").mkdir()
    (home / "samples" / "broken [red].jpg").write_bytes(b"not a picture")
    shutil.copy(next((ROOT / "samples").glob("*.jpg")), home / "samples" / "good.jpg")
    done = demo(*FREE_PORTS, cwd=home)
    assert done.returncode == 1, done.stderr
    assert re.search(r"broken \[red\]\.jpg .*not_an_image", done.stdout)
    assert "broken [red].jpg: the file is not a picture; send JPEG, PNG, WebP, HEIC or AVIF" in done.stdout
    assert re.search(r"good\.jpg .*(real|ai_generated|unsure)", done.stdout)
    assert sorted(path.name for path in home.iterdir()) == ["model_repository", "samples", "var"]


def test_options_are_also_environment_variables(tmp_path: Path) -> None:
    http_port, grpc_port, metrics_port = map(str, free_ports(3))
    done = demo(
        cwd=tmp_path,
        VERIPHOTO_MODEL_REPOSITORY=str(ROOT / "model_repository"),
        VERIPHOTO_SAMPLES=str(ROOT / "samples"),
        VERIPHOTO_VAR=str(tmp_path / "elsewhere"),
        VERIPHOTO_HTTP_PORT=http_port,
        VERIPHOTO_GRPC_PORT=grpc_port,
        VERIPHOTO_METRICS_PORT=metrics_port,
        VERIPHOTO_FLAVOUR="embedded",
    )
    assert done.returncode == 0, done.stderr
    assert all(f"127.0.0.1:{port}" in done.stdout for port in (http_port, grpc_port, metrics_port))
    assert (tmp_path / "elsewhere" / "triton" / http_port / "triton.log").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--samples=nowhere"], "there is no picture in nowhere"),
        (["--no-samples"], "--demo is about the samples"),
        (["--model-repository=nowhere"], "nowhere is no directory; name the model repository with --model-repository"),
        (["--flavour=tensorrt"], "the server of nvidia-pytriton has no backend for tensorrt"),
    ],
)
def test_what_cannot_run_says_why(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = demo(f"--var={tmp_path}", *FREE_PORTS, *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
