"""What faults and vanishing callers leave in the log."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import time
from pathlib import Path

import httpx
import pytest

from veriphoto.errors import DatabaseFullError
from veriphoto_serving.gateway.log_filter import LogFilter, filter_logs

from .conftest import Open, listening, picture
from .test_http import connect, ready


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def logger(now: list[float]) -> logging.Logger:
    logger = logging.getLogger("tests.log_filter")
    logger.filters[:] = [LogFilter(clock=lambda: now[0])]
    return logger


def fail(logger: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except Exception:
        logger.exception("request %s failed", "an-id")


def test_one_line_for_each_cause_and_minute(
    logger: logging.Logger, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(130):
        now[0] = float(second)
        for _ in range(10):
            fail(logger, ValueError("what a caller sent"))
            fail(logger, KeyError("what a caller sent"))
    assert len(caplog.messages) == 6
    assert "a caller sent" not in caplog.text
    assert "Traceback" not in caplog.text
    first, third = vars(caplog.records[0]), vars(caplog.records[2])
    assert (first["error"], first["error_at"].partition(":")[0]) == ("ValueError", "test_log_filter.py")
    assert ("suppressed" in first, third["suppressed"]) == (False, 599)


async def test_a_review_database_that_is_away_is_one_line(
    open_gateway: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    filter_logs()

    def refuse(**_: object) -> None:
        raise DatabaseFullError("its disk is full")

    async with open_gateway(review_database=f"sqlite:///{tmp_path / 'review.db'}") as gateway:
        monkeypatch.setattr(gateway.services.feedback, "take", refuse)
        for _ in range(20):
            answer = await gateway.http.post("/feedback", json={"reference": "a", "truth": "real"})
            assert answer.status_code == 503
    assert [message for message in caplog.messages if "feedback" in message] == [
        "feedback was not taken: [database_full] its disk is full"
    ]


async def test_a_fault_of_every_request_is_one_line(open_gateway: Open, caplog: pytest.LogCaptureFixture) -> None:
    filter_logs()
    async with open_gateway() as gateway:
        gateway.triton.fault = ZeroDivisionError("what a caller sent")
        for _ in range(20):
            assert (await gateway.http.post("/predict", content=picture())).status_code == 500
    lines = [record for record in caplog.records if record.name == "veriphoto_serving.gateway.middleware.request"]
    assert len(lines) == 1
    assert vars(lines[0])["error"] == "ZeroDivisionError"
    assert "a caller sent" not in caplog.text


@pytest.mark.parametrize("abrupt", [True, False])
@pytest.mark.parametrize("ahead", [1, 2, 5])
@pytest.mark.parametrize("whole", [True, False])
def test_vanishing_callers_leave_no_line(
    caplog: pytest.LogCaptureFixture, abrupt: bool, ahead: int, whole: bool
) -> None:
    with listening() as (url, server):
        ready(url)
        server._services.scorer._detector._service._transport._delay = 0.05
        body = picture()
        request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for _ in range(20):
            with contextlib.suppress(ConnectionError):
                line: socket.socket = connect(url)
                line.sendall(request * ahead if whole else request * (ahead - 1) + request[:-10])
                if abrupt:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.close()
        deadline = time.monotonic() + 20  # what they sent may still be in work, and nobody else has room meanwhile
        while (answer := httpx.post(f"{url}/predict", content=body)).status_code == 503:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.1)
        assert answer.status_code == 200, answer.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
