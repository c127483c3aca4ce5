"""What the HTTP transport really puts on the wire, seen by a socket of our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from photo_corpus import picture

from veriphoto.errors import DeadlineExceededError, NotAnImageError, ServiceError
from veriphoto_client import Detector


class Recorder(BaseHTTPRequestHandler):
    """Keeps what arrives and answers as it is told."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []
    answer: ClassVar[tuple[int, bytes]] = (400, b"")
    release: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.release.wait(10)
        status, text = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Recorder.seen.clear()
    Recorder.release.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Recorder.release.set()
        server.shutdown()
        thread.join()


def test_a_request_is_never_called_a_form(server, tmp_path):
    Recorder.answer = (400, json.dumps({"error": "in ensemble 'detector', [not_an_image] no picture"}).encode())
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(5_000_000))
    with Detector(server) as detector:
        for image in (picture(), path):
            with pytest.raises(NotAnImageError, match=r"^no picture$") as caught:
                detector.predict(image)
            assert caught.value.__cause__ is not None
    assert len(Recorder.seen) == 2
    for target, headers, _ in Recorder.seen:
        assert target == "/v2/models/detector/infer"
        assert headers["content-type"] == "application/octet-stream"
        assert "transfer-encoding" not in headers
        assert headers["inference-header-content-length"] == "0"
        assert headers["accept-encoding"] == "identity"
    assert [body for _, _, body in Recorder.seen] == [picture(), bytes(5_000_000)]


def test_an_answer_that_is_not_tritons_is_a_service_error(server):
    Recorder.answer = (500, b"<html>oops</html>")
    with Detector(server) as detector, pytest.raises(ServiceError, match=server):
        detector.predict(picture())


def test_a_success_that_is_not_tritons_is_a_service_error(server):
    Recorder.answer = (200, b"<html>welcome</html>")
    with Detector(server) as detector, pytest.raises(ServiceError, match=server):
        detector.predict(picture())


def test_a_server_that_does_not_answer_is_given_up(server):
    Recorder.release.clear()
    with Detector(server, timeout=0.3) as detector, pytest.raises(DeadlineExceededError, match=r"0\.3 s"):
        detector.predict(picture())
    Recorder.release.set()
