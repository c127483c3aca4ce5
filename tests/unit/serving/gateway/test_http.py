"""The gateway over real sockets: slow, huge, malformed and many requests, and how it shuts down."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from veriphoto.errors import StartupError
from veriphoto_serving.gateway.server import prepare
from veriphoto_serving.gateway.settings import GatewaySettings

from .conftest import listening, picture


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listening(header_timeout=1.0, upload_timeout=1.0, max_connections=300) as (address, _):
        ready(address)
        yield address


def ready(url: str) -> None:
    deadline = time.monotonic() + 10
    while httpx.get(f"{url}/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def talk(url: str, request: bytes) -> bytes:
    with connect(url) as line:
        line.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := line.recv(65536):
                answer += piece
        return answer


def test_slow_callers_are_cut_off_and_nobody_else_notices(url: str) -> None:
    with contextlib.ExitStack() as lines:
        slow = [lines.enter_context(connect(url)) for _ in range(100)]
        for number, line in enumerate(slow):
            line.sendall((b"", b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A", b"GET / HTTP/1.1\r\n")[number % 3])
        started = time.perf_counter()
        assert httpx.post(f"{url}/predict", content=picture()).status_code == 200
        assert time.perf_counter() - started < 1.0
        for line in slow:
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(100) == b""


def test_a_body_that_does_not_come_is_not_waited_for(url: str) -> None:
    answer = talk(url, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n\xff\xd8")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "upload_timeout"


def test_more_connections_than_allowed_are_closed(url: str) -> None:
    with contextlib.ExitStack() as lines:
        for _ in range(300):
            lines.enter_context(connect(url))
        with connect(url) as one_too_many, contextlib.suppress(ConnectionResetError):
            assert one_too_many.recv(1) == b""
    ready(url)


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["negative length", "two lengths", "twice a length", "long path", "many headers", "TLS"],
)
def test_odd_requests_are_refused(url: str, request_line: bytes) -> None:
    answer = talk(url, request_line)
    assert answer == b"" or answer.split()[1] in (b"400", b"404", b"411")
    ready(url)


def test_the_answer_arrives_although_the_caller_still_sends(url: str) -> None:
    with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)) as connection:
        connection.request("POST", "/predict", body=bytes(25_000_000))
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["error"]) == (413, "file_too_large")


def test_who_asks_first_sends_nothing_in_vain(url: str) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 30000000\r\n\r\n"
    started = time.perf_counter()
    assert talk(url, head).startswith(b"HTTP/1.1 413 ")
    assert time.perf_counter() - started < 1.0


def test_a_refusal_of_a_small_upload_keeps_the_connection(url: str) -> None:
    with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)) as connection:
        for body, status in ((b"hello", 422), (picture(), 200)):
            connection.request("POST", "/predict", body=body)
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, answer.getheader("connection")) == (status, None)


def test_nothing_of_a_request_is_logged_or_stored(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level("DEBUG")
    with listening() as (address, _):
        ready(address)
        files = {"file": ("my-secret-name.jpg", picture(size=(3000, 2000), quality=100) + bytes(2_000_000))}
        assert httpx.post(f"{address}/predict?token=my-secret", files=files).status_code == 200
        httpx.get(f"{address}/my-secret")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("veriphoto", "uvicorn"))]
    assert "secret" not in "\n".join(ours)
    assert "127.0.0.1" not in "\n".join(ours)


def test_draining_finishes_what_is_in_flight() -> None:
    with listening(drain=1.0) as (address, server):
        ready(address)
        server._services.scorer._detector._service._transport._delay = 2.0
        codes: list[int] = []
        call = threading.Thread(
            target=lambda: codes.append(httpx.post(f"{address}/predict", content=picture()).status_code)
        )
        call.start()
        while not server._services.scorer.places.taken:
            time.sleep(0.01)
        loop = server.servers[0].get_loop()
        loop.call_soon_threadsafe(server.drain, 1.0)
        time.sleep(0.1)
        assert httpx.get(f"{address}/readyz").json() == {"status": "draining"}
        call.join()
        assert codes == [200]


def test_a_taken_port_is_named() -> None:
    with listening() as (address, _), pytest.raises(StartupError, match="--gateway-port"):
        prepare(GatewaySettings(gateway_port=int(address.rpartition(":")[2])))
