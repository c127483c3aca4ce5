"""When the gateway says that it serves, what it says of a server without memory, and slashes too many."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from veriphoto.errors import ServiceError, ServiceUnavailableError, StartupError
from veriphoto_serving.gateway.server import GatewayServer, prepare
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton import shared_memory as shm

from .conftest import Gateway, Triton, picture


class Waiting:
    """A gateway that waits for its Triton before it says that it serves."""

    def __init__(self, raises: Exception | None = None) -> None:
        self.triton, self.said, self.raised = Triton(), threading.Event(), raises
        self.triton.fault = ServiceUnavailableError("it is still loading")
        settings = GatewaySettings(gateway_port=0, canary_interval=0.05, sidecar_url="http://127.0.0.1:9/drift")
        self.server, self.listener = prepare(settings, transport=self.triton, ready=self._say)
        self.server._wait = True
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.failure: Exception | None = None

    def _say(self, _: str) -> None:
        self.said.set()
        if self.raised is not None:
            raise self.raised

    def run(self) -> None:
        try:
            self.server.run(sockets=[self.listener])
        except Exception as error:  # noqa: BLE001 - for the test to look at
            self.failure = error


@contextmanager
def waiting(raises: Exception | None = None) -> Iterator[Waiting]:
    gateway = Waiting(raises)
    thread = threading.Thread(target=gateway.run)
    with gateway.listener:
        thread.start()
        try:
            yield gateway
        finally:
            gateway.server.should_exit = True
            thread.join(15)


def test_it_serves_when_it_says_so() -> None:
    with waiting() as gateway:
        time.sleep(0.5)
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
        assert httpx.post(f"{gateway.url}/predict", content=picture()).status_code == 503
        assert not gateway.said.is_set()
        gateway.triton.fault = None
        assert gateway.said.wait(5)
        assert httpx.post(f"{gateway.url}/predict", content=picture()).status_code == 200


def test_what_fails_then_ends_it() -> None:
    with waiting(StartupError("the page cannot be started")) as gateway:
        gateway.triton.fault = None
        assert gateway.said.wait(5)
        deadline = time.monotonic() + 10
        while gateway.failure is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert isinstance(gateway.failure, StartupError)
    assert isinstance(gateway.server, GatewayServer)


@pytest.mark.parametrize("path", ["/predict/", "/v1/predict/", "/predict//"])
async def test_a_slash_too_many_is_no_redirect(gateway: Gateway, path: str) -> None:
    answer = await gateway.http.post(path, content=picture(), headers={"x-forwarded-proto": "https"})
    assert (answer.status_code, answer.headers.get("location")) == (200, None)
    assert (await gateway.http.get("/predict/batch/")).status_code == 405
    assert (await gateway.http.get("//")).status_code == 200


async def test_full_shared_memory_is_named_in_the_log(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shm, "_NEARLY_FULL", 1 << 60)
    gateway.triton.fault = ServiceError("Failed to increase the shared memory pool size")
    for _ in range(3):
        answer = await gateway.http.post("/predict", content=picture())
        assert (answer.status_code, answer.json()["error"]) == (503, "service_error")
        assert "shared memory" not in answer.text
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("scoring")]
    assert lines
    assert "Failed to increase the shared memory pool size" in lines[0]
    assert f"{shm.DIRECTORY} has" in lines[0]
    assert "--shm-size" in lines[0]


def test_enough_shared_memory_is_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shm, "_NEARLY_FULL", 0)
    assert shm.shared_memory_hint() == ""
