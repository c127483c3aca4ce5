"""A small HTTP server that answers as Triton does, for tests that need a socket and no model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from veriphoto.errors import ImageError
from veriphoto_client import FakeTransport

Answer = tuple[int, bytes]


def score(body: bytes) -> Answer:
    """Answers a raw request as the ensemble does, with the fake transport's scores."""
    try:
        outputs = FakeTransport.answer(body)
    except ImageError as error:
        return 400, json.dumps({"error": f"in ensemble 'detector', {error.to_wire()}"}).encode()
    return 200, json.dumps({"outputs": [_tensor(*item) for item in outputs.items()]}).encode()


def _tensor(name: str, array: np.ndarray) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}


class FakeTriton:
    """What a test sees of the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """Path, headers with lower-case names, and body of each request."""
        self.answer: Callable[[bytes], Answer] = score
        """Makes status and body of each answer; a test may set its own."""


@contextmanager
def fake_triton() -> Iterator[FakeTriton]:
    """Serves on a free port of this machine."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.fake = FakeTriton(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.fake
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeTriton

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that has gone is what some tests are about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.fake.requests.append((self.path, headers, body))
        head = int(headers.get("inference-header-content-length", 0))
        # Behind a header of JSON stands the file with its length before it.
        self._send(*self.server.fake.answer(body[head + 4 :] if head else body))

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
