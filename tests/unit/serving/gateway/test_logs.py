"""Log lines as other programs read them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import httpx
import pytest

from veriphoto.environment import Variable
from veriphoto.errors import ServiceError, UsageError
from veriphoto.telemetry import logs

from .conftest import listening, picture
from .test_http import ready


@pytest.fixture
def undone() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_every_line_of_a_request_is_json_and_has_its_id(undone: None, capsys: pytest.CaptureFixture[str]) -> None:
    given = [uuid.uuid4().hex for _ in range(2)]
    logs.configure("gateway")
    with listening() as (address, server):
        ready(address)
        transport = server._services.scorer._detector._service._transport
        for request_id, fault in zip(
            given, (ServiceError("no answer"), ZeroDivisionError("sent by a caller")), strict=True
        ):

            async def failing(data: bytes, request_id: str = "", fault: Exception = fault) -> None:
                raise fault

            transport.score = failing
            files = {"file": ("my-secret-name.jpg", picture())}
            answer = httpx.post(f"{address}/predict", files=files, headers={"x-request-id": request_id})
            assert answer.status_code >= 500
    written = capsys.readouterr().err
    lines = [json.loads(line) for line in written.splitlines()]
    ours = [line for line in lines if "request_id" in line]
    assert [line["request_id"] for line in ours] == given
    assert {(line["process"], line["level"]) for line in ours} == {("gateway", "error")}
    assert [line["error"] for line in ours] == ["ServiceError", "ZeroDivisionError"]
    assert ours[0]["message"].startswith("Triton answers no picture")
    assert not any(secret in written for secret in ("my-secret-name", "sent by a caller", "Traceback"))


def log(stderr: int, environment: dict[str, str]) -> None:
    """Lets a process of its own, whose standard error is a given file, log one warning and one detail of a library."""
    program = (
        "import logging; from veriphoto.telemetry import logs; logs.configure('gateway');"
        "logging.getLogger('httpx').info('GET http://...'); logging.getLogger('veriphoto.x').warning('full: %s', 'é')"
    )
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **environment}, stderr=stderr, check=True)


@pytest.mark.parametrize(
    ("chosen", "terminal"), [("", False), ("auto", False), ("json", True), ("text", False), ("", True)]
)
def test_lines_are_readable_at_a_terminal_and_json_elsewhere(chosen: str, terminal: bool) -> None:
    ours, its = os.openpty() if terminal else os.pipe()
    log(its, {Variable.LOG_FORMAT: chosen})
    line = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(its)
    assert "httpx" not in line
    if chosen == "text" or (terminal and not chosen):
        assert "full: é" in line
        assert not line.startswith("{")
        return
    fields = json.loads(line)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {"process": "gateway", "level": "warning", "logger": "veriphoto.x", "message": "full: é"}


def test_an_unknown_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(Variable.LOG_FORMAT, "xml")
    with pytest.raises(UsageError, match="auto, json, text"):
        logs.configure("gateway")
