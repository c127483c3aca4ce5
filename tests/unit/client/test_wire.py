"""What the HTTP transport really puts on the wire, seen by a socket of our own."""

from __future__ import annotations

import json
import struct
import threading

import pytest
from photo_corpus import picture

from veriphoto.errors import DeadlineExceededError, NotAnImageError, ServiceError
from veriphoto_client import Detector


def test_a_request_is_never_called_a_form(server, tmp_path):
    error = {"error": "in ensemble 'detector', [not_an_image] no picture"}
    server.answer = lambda body: (400, json.dumps(error).encode())
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(5_000_000))
    with Detector(server.url) as detector:
        for image in (picture(), path):
            with pytest.raises(NotAnImageError, match=r"^no picture(\n|$)") as caught:
                detector.predict(image)
            assert caught.value.__cause__ is not None
    for target, headers, _ in server.requests:
        assert target == "/v2/models/detector/infer"
        assert headers["content-type"] == "application/octet-stream"
        assert "transfer-encoding" not in headers
        assert headers["inference-header-content-length"] == "0"
        assert headers["accept-encoding"] == "identity"
    assert [body for _, _, body in server.requests] == [picture(), bytes(5_000_000)]


def test_a_request_with_an_id_carries_the_file_behind_a_header(server):
    with Detector(server.url) as detector:
        named = detector.predict(picture(), request_id="probe-test")
        assert named.logit == detector.predict(picture()).logit
    _, headers, body = server.requests[0]
    length = int(headers["inference-header-content-length"])
    assert json.loads(body[:length])["id"] == "probe-test"
    assert body[length:] == struct.pack("<I", len(picture())) + picture()
    assert headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "answer",
    [
        *((500, b"<html>oops</html>"), (200, b"<html>welcome</html>"), (200, b"{}"), (200, b"[]")),
        *((200, b"[" * 200_000), (500, b"[" * 200_000)),
        (200, b'{"outputs":[{"name":"PROBABILITY","datatype":"BYTES","shape":[1,1],"data":["a"]}]}'),
    ],
    ids=lambda answer: f"{answer[0]} {answer[1][:40].decode()}",
)
def test_an_answer_that_is_not_tritons_is_a_service_error(server, answer):
    server.answer = lambda body: answer
    with Detector(server.url) as detector, pytest.raises(ServiceError) as caught:
        detector.predict(picture())
    assert caught.value.code == "service_error"


def test_a_server_that_does_not_answer_is_given_up(server):
    release = threading.Event()
    server.answer = lambda body: (200, str(release.wait(10)).encode())
    with Detector(server.url, timeout=0.3) as detector, pytest.raises(DeadlineExceededError, match=r"0\.3 s"):
        detector.predict(picture())
    release.set()


def test_connections_are_kept_and_no_more_are_opened_than_may_be_in_flight(server):
    with Detector(server.url, max_in_flight=2) as detector:
        assert all(not isinstance(result, Exception) for result in detector.predict_batch([picture()] * 10))
    assert len(server.requests) == 10
