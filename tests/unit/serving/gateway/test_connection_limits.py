"""Many connections over real sockets: idle ones, greedy ones, and callers who do not read."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import Response

from veriphoto_serving.gateway.middleware import connection_limits
from veriphoto_serving.gateway.server import GatewayServer

from .conftest import listening, picture
from .test_http import connect, ready, talk

MOST = 40
BIG = 3_000_000
GET = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, GatewayServer]]:
    monkeypatch.setattr(connection_limits, "_PATIENCE_S", 0.2)
    with listening(header_timeout=30.0, upload_timeout=30.0, write_timeout=2.0, max_connections=MOST) as (url, server):
        server.config.app.add_api_route("/big", lambda: Response(bytes(BIG)))
        ready(url)
        yield url, server


@pytest.fixture
def lines() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def ended(url: str, reason: str) -> float:
    text = httpx.get(f"{url}/metrics").text
    found = [
        line
        for line in text.splitlines()
        if line.startswith(f'veriphoto_gateway_connections_ended_total{{reason="{reason}"')
    ]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def is_closed(line: socket.socket) -> bool:
    line.settimeout(0.2)
    with contextlib.suppress(ConnectionResetError):
        try:
            return line.recv(1, socket.MSG_PEEK) == b""
        except TimeoutError:
            return False
    return True


def test_idle_connections_make_room_oldest_first(
    served: tuple[str, GatewayServer], lines: contextlib.ExitStack
) -> None:
    url, _ = served
    idle = [lines.enter_context(connect(url)) for _ in range(MOST)]
    idle[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")  # has asked, and is idle again: the youngest of all
    assert idle[0].recv(65536).startswith(b"HTTP/1.1 200")
    for _ in range(10):
        started = time.perf_counter()
        assert httpx.post(f"{url}/predict", content=picture()).status_code == 200
        assert time.perf_counter() - started < 1.0
    assert is_closed(idle[1])
    assert not is_closed(idle[0])
    assert not is_closed(idle[-1])
    assert ended(url, "idle") > 0


def test_uploads_that_do_not_come_make_room(served: tuple[str, GatewayServer], lines: contextlib.ExitStack) -> None:
    url, _ = served
    for _ in range(MOST):
        lines.enter_context(connect(url)).sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n\xff")
    time.sleep(0.4)
    assert httpx.post(f"{url}/predict", content=picture()).status_code == 200
    assert ended(url, "slow_upload") > 0


def test_probes_come_in_where_nobody_can_make_room(
    served: tuple[str, GatewayServer], lines: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "_PATIENCE_S", 60.0)
    url, server = served
    server._services.scorer._detector._service._transport._delay = 1.5
    body = picture()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(MOST):
        lines.enter_context(connect(url)).sendall(head + body[:-1])
    time.sleep(0.3)
    for path in ("/healthz", "/readyz", "/v1/health", "/metrics?x=1"):
        assert httpx.get(f"{url}{path}").status_code == 200, path
    own = "0" * 32
    answer = httpx.post(f"{url}/predict", content=body, headers={"x-request-id": own})
    assert (answer.status_code, answer.json()["error"], answer.headers["connection"]) == (503, "overloaded", "close")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == own
    assert answer.headers["retry-after"] == "1"
    answer = httpx.post(f"{url}/v2/models/detector/infer", content=body)
    assert (answer.status_code, set(answer.json())) == (503, {"error", "request_id"})
    assert answer.json()["error"].startswith("[overloaded] too many connections")

    spare = [lines.enter_context(connect(url)) for _ in range(connection_limits.SPARE + 3)]
    assert [is_closed(line) for line in spare] == [True] * 3 + [False] * connection_limits.SPARE, "not without end"


@pytest.mark.parametrize("requests", [1, 6])
def test_who_does_not_read_is_cut_off(
    served: tuple[str, GatewayServer], lines: contextlib.ExitStack, requests: int
) -> None:
    url, _ = served
    for _ in range(5):
        line = lines.enter_context(narrow(url))
        line.sendall(GET.replace(b"/openapi.json", b"/big") * requests)
    deadline = time.monotonic() + 8
    while ended(url, "not_read") < 5:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert httpx.post(f"{url}/predict", content=picture()).status_code == 200


def narrow(url: str) -> socket.socket:
    """Connects with a window so small that little of an answer leaves the server."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = url.removeprefix("http://").partition(":")
    line.connect((host, int(port)))
    return line


def test_who_reads_slowly_gets_everything(served: tuple[str, GatewayServer], lines: contextlib.ExitStack) -> None:
    url, _ = served
    line = lines.enter_context(narrow(url))
    line.sendall(GET.replace(b"/openapi.json", b"/big").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    received = 0
    for _ in range(40):  # 4 s, twice the time in which some of it must be read
        received += len(line.recv(20_000))
        time.sleep(0.1)
    while piece := line.recv(1 << 20):
        received += len(piece)
    assert received > BIG


def test_a_flood_of_requests_ahead_ends_the_connection(served: tuple[str, GatewayServer]) -> None:
    url, _ = served
    few = talk(url, GET * 5 + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert few.count(b"HTTP/1.1 200") == 6
    with connect(url) as line, contextlib.suppress(ConnectionError):
        line.sendall(GET * 5000)
        answer = b""
        while piece := line.recv(1 << 20):
            answer += piece
        assert answer.count(b"HTTP/1.1 200") < 20
    ready(url)


@pytest.mark.parametrize("chunks", [1, 3])
def test_who_sends_no_more_is_still_answered(served: tuple[str, GatewayServer], chunks: int) -> None:
    url, _ = served
    body = picture()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with connect(url) as line:
        for _ in range(chunks):
            line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := line.recv(65536):
            answer += piece
    assert answer.count(b"HTTP/1.1 200") == chunks
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["verdict"]


def test_half_a_request_and_no_more_is_no_request(served: tuple[str, GatewayServer]) -> None:
    url, _ = served
    with connect(url) as line:
        line.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n\xff\xd8")
        line.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(100) == b""
