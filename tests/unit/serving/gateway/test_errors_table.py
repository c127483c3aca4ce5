"""A request for every row of the table."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from benchmarks.odd_files import scans
from PIL import Image

from veriphoto import errors as core
from veriphoto.errors import VeriphotoError
from veriphoto_serving.gateway import errors as own
from veriphoto_serving.gateway.errors import STATUS

from .conftest import KEYS, Gateway, Open, picture, wait_for

Provoke = Callable[[Gateway], Awaitable[httpx.Response]]


def raw(body: bytes, **headers: str) -> Provoke:
    return lambda gateway: gateway.http.post("/predict", content=body, headers=headers)


def form(*parts: tuple[str, bytes], route: str = "/predict") -> Provoke:
    files = [(name, ("a.jpg", content)) for name, content in parts]
    return lambda gateway: gateway.http.post(route, files=files)


def faulty(fault: Exception) -> Provoke:
    async def provoke(gateway: Gateway) -> httpx.Response:
        gateway.triton.fault = fault
        return await gateway.http.post("/predict", content=picture())

    return provoke


def bilevel(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


async def trickle(gateway: Gateway) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"\xff\xd8"
        await asyncio.sleep(5)
        yield b"\xff"

    return await gateway.http.post("/predict", content=body(), headers={"content-length": "3"})


async def chunked(gateway: Gateway) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        yield picture()

    return await gateway.http.post("/predict", content=body())


async def twice(gateway: Gateway) -> httpx.Response:
    await gateway.http.post("/predict", content=picture())
    return await gateway.http.post("/predict", content=picture())


async def crowd(gateway: Gateway) -> httpx.Response:
    gateway.triton.slow = 1.0
    first = asyncio.create_task(gateway.http.post("/predict", content=picture()))
    await wait_for(lambda: gateway.services.scorer.places.taken == 1)
    refused = await gateway.http.post("/predict", content=picture())
    first.cancel()
    return refused


async def slow(gateway: Gateway) -> httpx.Response:
    gateway.triton.slow = 5.0
    return await gateway.http.post("/predict", content=picture())


async def tell(gateway: Gateway) -> httpx.Response:
    body = {"request_id": "0" * 32, "truth": "real"}
    return await gateway.http.post("/feedback", json=body, headers={"x-api-key": "0123456789abcdef"})


EMPTY = "sqlite:///:memory:"
"""Each connection finds another, empty database: it can be opened, and nothing can be written."""
PNG = picture(kind="PNG", size=(64, 64))
PROVOKED: dict[type[VeriphotoError], tuple[Provoke, dict[str, Any]]] = {
    own.BadRequestError: (raw(b""), {}),
    own.MissingFileError: (form(("photo", picture())), {}),
    own.TooManyFilesError: (form(("file", picture()), ("file", picture())), {}),
    own.UnauthorizedError: (raw(picture()), {"api_keys": KEYS}),
    own.ForbiddenError: (tell, {"api_keys": KEYS, "feedback_keys": "app", "review_database": EMPTY}),
    own.NotFoundError: (lambda gateway: gateway.http.get("/nope"), {}),
    own.MethodNotAllowedError: (lambda gateway: gateway.http.get("/predict"), {}),
    own.UploadTimeoutError: (trickle, {"upload_timeout": 0.05}),
    own.LengthRequiredError: (chunked, {}),
    own.BodyTooLargeError: (form(("files", bytes(1_100_000)), route="/predict/batch"), {"max_batch_mb": 1}),
    core.FileTooLargeError: (raw(bytes(20_000_001)), {}),
    core.TooManyPixelsError: (raw(bilevel(8000, 6000)), {}),
    core.SideTooLongError: (raw(bilevel(12_001, 2)), {}),
    core.DecompressionBombError: (raw(bilevel(11_000, 9_000)), {}),
    own.EncodingError: (raw(picture(), **{"content-encoding": "gzip"}), {}),
    core.UnsupportedFormatError: (raw(picture(kind="GIF")), {}),
    core.NotAnImageError: (raw(b"hello"), {}),
    core.TruncatedImageError: (raw(picture()[:-300]), {}),
    core.CorruptImageError: (raw(PNG[:60] + bytes(8) + PNG[68:]), {}),
    core.ImageError: (faulty(core.ImageError("of a kind that is in no row")), {}),
    core.TooCostlyError: (raw(scans(6300, 6300, 250)), {}),
    own.RateLimitedError: (twice, {"rate_limit": 1}),
    own.BusyError: (crowd, {"max_in_flight": 1}),
    core.OverloadedError: (faulty(core.OverloadedError("queue full at 10.0.0.7")), {}),
    core.ServiceUnavailableError: (faulty(core.ServiceUnavailableError("10.0.0.7 is away")), {}),
    core.ServiceError: (faulty(core.ServiceError("10.0.0.7 said nonsense")), {}),
    core.DatabaseError: (tell, {"api_keys": KEYS, "feedback_keys": "shop", "review_database": EMPTY}),
    core.DeadlineExceededError: (slow, {"request_timeout": 0.05}),
    VeriphotoError: (faulty(RuntimeError("secret 10.0.0.7")), {}),
}


def test_every_row_is_provoked() -> None:
    assert set(PROVOKED) == set(STATUS)


@pytest.mark.parametrize("kind", PROVOKED, ids=lambda kind: kind.code)
async def test_row(kind: type[VeriphotoError], open_gateway: Open) -> None:
    provoke, settings = PROVOKED[kind]
    async with open_gateway(**settings) as gateway:
        answer = await provoke(gateway)

        assert (answer.status_code, answer.json()["error"]) == (STATUS[kind], kind.code)
        assert set(answer.json()) == {"error", "detail", "request_id"}
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        assert "10.0.0.7" not in answer.text, "what Triton says of itself stays inside"
        if answer.status_code in (429, 503):
            assert int(answer.headers["retry-after"]) >= 1
        refusals = gateway.services.metrics.registry.get_sample_value
        assert refusals("veriphoto_gateway_refusals_total", {"reason": kind.code}) == 1


async def test_every_status_is_in_the_description(gateway: Gateway) -> None:
    description = (await gateway.http.get("/openapi.json")).json()
    documented = set(description["paths"]["/predict"]["post"]["responses"])

    by_the_router, our_fault, of_feedback = {404, 405}, {500}, {403}
    assert {str(status) for status in set(STATUS.values()) - by_the_router - our_fault - of_feedback} <= documented
    assert json.dumps(description)
