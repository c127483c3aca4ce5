"""Every part of an answer ends in time, also the parts that run on threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.requests import ClientDisconnect

from veriphoto_client.metadata import provenance
from veriphoto_serving.gateway import services

from .conftest import Open, picture


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Drawings and readings of metadata that do not end before the test does."""
    over = threading.Event()
    monkeypatch.setattr(services, "explain", lambda *_: over.wait(20))
    monkeypatch.setattr(provenance, "inspect", lambda *_: over.wait(20))
    monkeypatch.setattr(services, "may_claim", lambda _: True)
    yield
    over.set()


@pytest.mark.usefixtures("stuck")
async def test_explanations_end_in_time_also_those_that_wait_for_others(open_gateway: Open) -> None:
    async with open_gateway(request_timeout=1.5) as gateway:
        started = time.monotonic()
        calls = [gateway.http.post("/predict/explain", content=picture()) for _ in range(3)]
        answers = await asyncio.gather(*calls)
        assert [answer.status_code for answer in answers] == [504] * 3
        assert answers[0].json()["error"] == "deadline_exceeded"
        assert time.monotonic() - started < 3.0
        assert gateway.services.drawings.taken == 0


@pytest.mark.usefixtures("stuck")
async def test_metadata_of_a_batch_takes_no_longer_than_that_of_one(open_gateway: Open) -> None:
    async with open_gateway() as gateway:
        files = [("files", ("a.jpg", picture()))] * 20
        started = time.monotonic()
        answer = await gateway.http.post("/predict/batch", files=files)
        assert time.monotonic() - started < 3.0
        assert [each["provenance"]["complete"] for each in answer.json()["results"]] == [False] * 20


@pytest.mark.parametrize("error", [TimeoutError, ClientDisconnect])
async def test_what_scoring_raises_is_not_called_a_slow_upload(
    open_gateway: Open, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    async def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(services.Services, "assess", failing)
    async with open_gateway() as gateway:
        answer = await gateway.http.post("/predict", content=picture())
        assert (answer.status_code, answer.json()["error"]) == (500, "veriphoto_error")
        assert gateway.services.uploads.memory.taken == 0
