"""Every way in which a request fails, and the error it becomes."""

from __future__ import annotations

import aiohttp
import pytest
from tritonclient.utils import InferenceServerException

from veriphoto.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    NotAnImageError,
    OverloadedError,
    ServiceError,
    ServiceUnavailableError,
    TruncatedImageError,
)
from veriphoto_client.triton.translate import translate

URL = "http://somewhere:8000"
FULL = "[request id: <id_unknown>] Exceeds maximum queue size"
ENSEMBLE_FULL = f"in ensemble 'detector', {FULL}"
PICTURE = "in ensemble 'detector', [not_an_image] the file is not a picture; send JPEG, PNG or WebP"
STUB = "Failed to process the request(s) for model instance 'preprocess_0_0', message: Stub process 'x' is not healthy."
TRACE = "ValueError: boom\n\nAt:\n  /some/where/model.py(12): execute\n"


@pytest.mark.parametrize(
    ("http", "grpc", "text", "expected"),
    [
        ("400", "INVALID_ARGUMENT", PICTURE, NotAnImageError),
        ("400", "INVALID_ARGUMENT", "IMAGE[1]: [truncated_image] the file ends", TruncatedImageError),
        ("400", "INVALID_ARGUMENT", "unexpected inference input 'IMG' for model 'detector'", InvalidRequestError),
        ("400", "INVALID_ARGUMENT", "[manifest_invalid] not the picture's fault", InvalidRequestError),
        ("404", "NOT_FOUND", "Request for unknown model: 'detector' is not found", ServiceUnavailableError),
        ("501", "UNIMPLEMENTED", "no such thing", InvalidRequestError),
        ("503", "UNAVAILABLE", FULL, OverloadedError),
        ("503", "UNAVAILABLE", ENSEMBLE_FULL, OverloadedError),
        ("503", "UNAVAILABLE", "Request timeout expired", OverloadedError),
        ("503", "UNAVAILABLE", "Server is exiting", ServiceUnavailableError),
        ("429", "RESOURCE_EXHAUSTED", "slow down", OverloadedError),
        ("504", "DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceededError),
        ("500", "INTERNAL", STUB, ServiceUnavailableError),
        ("500", "INTERNAL", TRACE, ServiceError),
        ("500", "UNKNOWN", "[not_an_image] said by a server that is itself at fault", ServiceError),
        ("418", "ABORTED", "", ServiceError),
    ],
)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_statuses(protocol, http, grpc, text, expected):
    status = http if protocol == "http" else f"StatusCode.{grpc}"
    error = translate(InferenceServerException(text, status=status), URL, 30.0)
    assert type(error) is expected


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (aiohttp.ServerDisconnectedError(), ServiceUnavailableError),
        (aiohttp.ClientPayloadError("cut"), ServiceUnavailableError),
        (ConnectionResetError(104, "Connection reset by peer"), ServiceUnavailableError),
        (TimeoutError(), DeadlineExceededError),
        (aiohttp.ServerTimeoutError(), DeadlineExceededError),
        (InferenceServerException(None, status=None), ServiceError),
    ],
)
def test_failures_below_triton(raised, expected):
    assert type(translate(raised, URL, 30.0)) is expected


def test_messages_name_the_server_and_hide_stack_traces():
    text = translate(InferenceServerException(TRACE, status="500"), URL, 30.0).message
    assert URL in text
    assert "ValueError: boom" in text
    assert "model.py" not in text


def test_a_pictures_error_keeps_its_words_only():
    error = translate(InferenceServerException(PICTURE, status="400"), URL, 30.0)
    assert error.message == "the file is not a picture; send JPEG, PNG or WebP"


def test_a_late_answer_says_how_late():
    assert "30 s" in translate(TimeoutError(), URL, 30.0).message
