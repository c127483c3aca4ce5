"""A real server whose processes are busy, stopped or attacked, behind the gateway."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from benchmarks.processes import tree
from pace import slowness
from test_gateway import PHOTO, Served, Traffic, wait_for
from toy_model import copy_repository, publish_toy

from veriphoto_serving.gateway.health.workers import stubs

pytestmark = pytest.mark.triton

BURNING = PHOTO + b"BURN"
BURN_S = 4.0
"""Longer than a test picture may take."""
SECRET = "0123456789abcdef"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose preprocessing computes for seconds where a file asks for it."""
    folder = tmp_path_factory.mktemp("faults")
    repository = copy_repository(folder / "repository")
    publish_toy(repository, 1)
    model = repository / "preprocess" / "1" / "model.py"
    burn = f"import time\n            end = time.monotonic() + {BURN_S} * bytes(data).endswith(b'BURN')\n"
    burn += "            while time.monotonic() < end:\n                pass\n            "
    call = "prepared.append(preprocess(data))"
    source = model.read_text()
    assert source.count(call) == 1
    model.write_text(source.replace(call, burn + call))
    os.environ["VERIPHOTO_API_KEYS"] = f"shop={SECRET}"
    try:
        started = time.monotonic()
        running = Served(repository, folder / "var", "--canary-timeout=1", "--canary-interval=1", "--max-in-flight=8")
    finally:
        del os.environ["VERIPHOTO_API_KEYS"]
    running.start_s = time.monotonic() - started  # type: ignore[attr-defined]
    yield running
    assert running.stop() == 0


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows the key in every request of the tests' callers."""
    send = httpx.Client.send

    def with_key(self: httpx.Client, request: httpx.Request, **options: object) -> httpx.Response:
        request.headers["x-api-key"] = SECRET
        return send(self, request, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(httpx.Client, "send", with_key)


def counted(served: Served, outcome: str) -> float:
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith(f'veriphoto_gateway_canary_total{{outcome="{outcome}"')]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def process_of(served: Served, model: str) -> int:
    wait_for(lambda: any(name.startswith(model) for name in stubs(served.triton).values()), 30)
    return max(pid for pid, name in stubs(served.triton).items() if name.startswith(model))


def test_no_process_shows_a_key(served: Served) -> None:
    processes = tree(served.process.pid)
    assert len(processes) > 6
    for process in processes:
        for name in ("environ", "cmdline"):
            assert SECRET.encode() not in Path(f"/proc/{process}/{name}").read_bytes(), (process, name)


def test_a_server_whose_processes_all_compute_is_not_restarted(served: Served) -> None:
    server, restarts = served.triton, counted(served, "restart")
    codes: list[int] = []
    burners = [
        threading.Thread(
            target=lambda: codes.append(httpx.post(f"{served.url}/predict", content=BURNING, timeout=60).status_code)
        )
        for _ in range(3)
    ]
    late = counted(served, "late")
    for burner in burners:
        burner.start()
    wait_for(lambda: counted(served, "late") > late, 30)
    assert served.ready()
    for burner in burners:
        burner.join()
    assert set(codes) <= {200, 504}, "no 503 while a place is free"
    assert (served.triton, counted(served, "restart")) == (server, restarts)
    assert httpx.post(f"{served.url}/predict", content=PHOTO, timeout=30).status_code == 200


@pytest.mark.parametrize("model", ["preprocess", "classifier"])
def test_one_process_that_stands_still_is_replaced_and_the_server_goes_on(served: Served, model: str) -> None:
    truth = httpx.post(f"{served.url}/predict", content=PHOTO).json()["probability"]
    server, victim = served.triton, process_of(served, model)
    with Traffic(served.url) as traffic:
        os.kill(victim, signal.SIGSTOP)
        wait_for(lambda: not Path(f"/proc/{victim}/cwd").exists(), 20)  # it has ended
        time.sleep(1.0)
    refused = [answer for answer in traffic.answers if answer[2] != 200]

    assert served.triton == server
    assert {answer[3] for answer in traffic.answers if answer[2] == 200} == {truth}, "a wrong answer"
    assert len(refused) <= 4 * slowness(), "what it had in its hands, no more"
    assert httpx.post(f"{served.url}/predict", content=PHOTO, timeout=30).status_code == 200


def heals(served: Served, harm: Callable[[int], None]) -> float:
    """Returns the seconds beyond those that the whole service took to start, on this machine with its load."""
    server = served.triton
    harm(server)
    started = time.monotonic()
    wait_for(lambda: not served.ready(), 10)
    wait_for(served.ready, 30)
    assert httpx.post(f"{served.url}/predict", content=PHOTO).status_code == 200
    assert not Path(f"/proc/{server}").exists()
    return time.monotonic() - started - served.start_s  # type: ignore[attr-defined, no-any-return]


def test_a_server_that_stands_still_is_restarted(served: Served) -> None:
    assert heals(served, lambda server: os.kill(server, signal.SIGSTOP)) < 5


def test_a_server_that_was_crashed_through_its_own_port_heals(served: Served) -> None:
    body = b"[" * 1_000_000
    head = b"POST /v2/models/detector/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"

    def crash(_: int) -> None:
        with socket.create_connection(("127.0.0.1", served.ports[0]), timeout=10) as line:
            line.sendall(head % len(body) + body)
            line.recv(1)

    assert heals(served, crash) < 1
