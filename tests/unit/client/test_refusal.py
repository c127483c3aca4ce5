"""What a refusal by the gateway, or by a proxy before it, becomes, and how long it says to wait."""

from __future__ import annotations

import time
from email.utils import formatdate

import httpx
import pytest

from veriphoto.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    ServiceUnavailableError,
)
from veriphoto_client.sdk.gateway import refusal
from veriphoto_client.sdk.retry import retry_after

ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", InvalidRequestError),
        (404, b"<html>", InvalidRequestError),
        (413, b"<html>nginx", InvalidRequestError),
        (429, b"slow down", OverloadedError),
        (502, b"<html>", ServiceUnavailableError),
        (503, b"[]", ServiceUnavailableError),
        (504, b"{}", DeadlineExceededError),
        (500, b"", ServiceError),
        (418, b"{}", ServiceError),
        (500, b'{"error": "veriphoto_error", "detail": "d"}', ServiceError),
        (413, b'{"error": "body_too_large", "detail": "d"}', InvalidRequestError),
        (408, b'{"error": "upload_timeout", "detail": "d"}', DeadlineExceededError),
    ],
)
def test_answers_of_a_proxy_and_of_the_gateway_itself(status, body, kind):
    assert type(refusal(httpx.Response(status, content=body), "http://h")) is kind


def test_a_refusal_names_the_request_that_the_log_knows():
    body = {"error": "veriphoto_error", "detail": "internal error", "request_id": ID}
    assert ID in refusal(httpx.Response(500, json=body), "http://h").message


def test_a_redirect_names_the_address_to_give():
    answer = httpx.Response(308, headers={"Location": "https://h/"})
    assert "https://h/" in refusal(answer, "http://h").message


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("3", 3), ("in a minute", 60), ("soon", None), ("", None), ("-1", None)],
)
def test_retry_after_is_seconds_or_a_date(said, seconds):
    if seconds == 60:  # made here: a date in the test's name would differ from process to process
        said = formatdate(time.time() + 60, usegmt=True)
    asked = retry_after(refusal(httpx.Response(503, headers={"Retry-After": said}), "http://h"))
    assert asked == (None if seconds is None else pytest.approx(seconds, abs=50 if seconds == 60 else 0))


def test_a_date_without_a_zone_is_utc_wherever_the_client_is(monkeypatch):
    said = time.asctime(time.gmtime(time.time() + 60))
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        asked = retry_after(refusal(httpx.Response(503, headers={"Retry-After": said}), "http://h"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert asked == pytest.approx(60, abs=50)
