"""The administrative client before servers that are not Triton."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from veriphoto.errors import ServiceError
from veriphoto_client.triton.admin import TritonAdmin

CALLS: list[Callable[[TritonAdmin], Any]] = [
    lambda admin: admin.metadata(),
    lambda admin: admin.config("detector"),
    lambda admin: admin.statistics("detector"),
    lambda admin: admin.index(),
]


@pytest.fixture
def stranger() -> Iterator[Callable[[bytes], TritonAdmin]]:
    """Answers everything with 200 and the same body."""

    class Handler(BaseHTTPRequestHandler):
        body = b""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    def at(body: bytes) -> TritonAdmin:
        Handler.body = body
        return TritonAdmin(address=f"127.0.0.1:{server.server_port}")

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield at
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", [b"", b"<html>", b"7", b"\xff\xfe{", b"[" * 100_000])
def test_what_is_not_triton_is_an_error_of_the_tree(
    stranger: Callable[[bytes], TritonAdmin], call: Callable[[TritonAdmin], Any], body: bytes
) -> None:
    with pytest.raises(ServiceError, match="not Triton"):
        call(stranger(body))
