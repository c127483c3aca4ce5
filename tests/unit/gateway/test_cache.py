"""The cache of answers: what it gives again, what it must never give again, and what it takes."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from dataclasses import replace

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2

from veriphoto.errors import UsageError
from veriphoto_client import Detection, FakeTransport
from veriphoto_client._codec import decode_answer
from veriphoto_serving.gateway.cache import ENTRY_BYTES, AnswerCache
from veriphoto_serving.gateway.cache_versions import ServedVersion, request_bytes

from .conftest import Open, picture


class Served:
    """A Triton that says which version it serves."""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.asked = 0

    async def __call__(self, version: int) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        return version == self.version


async def answer(data: bytes, version: int = 1) -> Detection:
    detection = decode_answer(FakeTransport.answer(data))
    return replace(detection, verdict=replace(detection.verdict, model_version=version))


@pytest.fixture
def served() -> Served:
    return Served()


async def test_an_answer_is_given_again_for_the_same_bytes_only(served: Served) -> None:
    cache = AnswerCache(1, served)
    data = picture()
    detection = await answer(data)
    cache.keep(await cache.key(data), detection)
    assert await cache.find(await cache.key(data)) is detection
    assert await cache.find(await cache.key(data + b"\0")) is None
    assert served.asked == 1, "Triton is asked for what is remembered, and for nothing else"


async def test_a_swap_empties_the_cache_before_anything_newer_was_seen(served: Served) -> None:
    outcomes: list[str] = []
    cache = AnswerCache(1, served, outcomes.append)
    key = await cache.key(b"a")
    cache.keep(key, await answer(picture(), version=1))
    served.version = 2
    assert await cache.find(key) is None
    assert len(cache) == 0
    served.version = 1
    assert await cache.find(key) is None, "what was dropped stays dropped"
    assert outcomes == ["stale", "miss"]


async def test_a_newer_answer_drops_the_older_ones_and_no_older_one_comes_back(served: Served) -> None:
    cache = AnswerCache(1, served)
    first, second = await cache.key(b"a"), await cache.key(b"b")
    cache.keep(first, await answer(picture(), version=1))
    served.version = 2
    cache.keep(second, await answer(picture(), version=2))
    cache.keep(first, await answer(picture(), version=1))  # a slow request, begun before the swap
    assert await cache.find(first) is None
    assert (await cache.find(second)) is not None


async def test_a_swap_while_triton_is_asked_is_noticed() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(version: int) -> bool:
        entered.set()
        await go_on.wait()
        return True  # it was still served when Triton looked

    cache = AnswerCache(1, slow)
    key = await cache.key(b"a")
    cache.keep(key, await answer(picture(), version=1))
    looking = asyncio.create_task(cache.find(key))
    await entered.wait()
    cache.keep(await cache.key(b"b"), await answer(picture(), version=2))
    cache.keep(key, await answer(picture(), version=2))
    go_on.set()
    assert await looking is None, "asked about version 1, it must not vouch for version 2"


async def test_memory_is_bounded_and_the_oldest_goes_first(served: Served) -> None:
    cache = AnswerCache(1, served)
    most = 1_000_000 // ENTRY_BYTES
    detection = await answer(picture())
    keys = [await cache.key(str(number).encode()) for number in range(most + 1)]
    for key in keys[:-1]:
        cache.keep(key, detection)
    assert await cache.find(keys[0]) is not None  # used again, so no longer the oldest
    cache.keep(keys[-1], detection)
    assert len(cache) == most
    assert await cache.find(keys[0]) is not None
    assert await cache.find(keys[1]) is None


async def test_an_entry_takes_no_more_than_it_is_counted_as(served: Served) -> None:
    cache = AnswerCache(10, served)
    outputs = [FakeTransport.answer(picture(brightness)) for brightness in range(200)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number, each in enumerate(outputs):
            copied = {name: tensor.copy() for name, tensor in each.items()}
            cache.keep(await cache.key(str(number).encode()), decode_answer(copied))
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 500 < used / len(outputs) < ENTRY_BYTES


async def test_keys_are_no_hashes_that_others_could_know(served: Served) -> None:
    data = picture()
    one, other = AnswerCache(1, served), AnswerCache(1, served)
    assert await one.key(data) == await one.key(data) != await other.key(data)
    assert await one.key(data) != hashlib.blake2b(data, digest_size=16).digest()
    large = b"x" * 2_000_000
    assert await one.key(large) == await one.key(large)


def test_the_request_is_what_tritons_own_message_would_be() -> None:
    for version in (1, 27, 12345):
        message = service_pb2.ModelReadyRequest(name="classifier", version=str(version))
        assert request_bytes("classifier", version) == message.SerializeToString()
    assert service_pb2.ModelReadyResponse(ready=True).SerializeToString() == b"\x08\x01"
    assert service_pb2.ModelReadyResponse(ready=False).SerializeToString() == b""


@pytest.mark.parametrize(("loaded", "expected"), [({3}, True), ({3, 4}, False), ({4}, False), (set(), False)])
async def test_a_version_is_served_while_it_is_ready_and_the_next_is_not(loaded: set[int], expected: bool) -> None:
    async def ready(request: bytes, context: object) -> bytes:
        asked = service_pb2.ModelReadyRequest.FromString(request)
        return service_pb2.ModelReadyResponse(ready=int(asked.version) in loaded).SerializeToString()

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService", {"ModelReady": grpc.unary_unary_rpc_method_handler(ready)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    versions = ServedVersion(f"grpc://127.0.0.1:{port}")
    try:
        assert await versions.is_served(3) is expected
    finally:
        await versions.close()
        await server.stop(None)
    assert await versions.is_served(3) is False, "a Triton that does not answer vouches for nothing"
    await versions.close()


def test_only_grpc_can_be_asked() -> None:
    with pytest.raises(UsageError, match="grpc://"):
        ServedVersion("http://127.0.0.1:8000")


async def test_the_gateway_remembers_only_when_told_to(open_gateway: Open, photo: bytes) -> None:
    async with open_gateway() as plain:
        for _ in range(2):
            await plain.http.post("/predict", content=photo)
        assert plain.triton.requests == 3  # with the test picture of the start
    served = Served()
    async with open_gateway(cache_mb=1) as gateway:
        cache = gateway.desk.scorer.cache
        assert cache is not None
        served.version = (await gateway.http.post("/predict", content=photo)).json()["model_version"]
        cache._is_served = served
        before = gateway.triton.requests
        first = (await gateway.http.post("/predict", content=photo)).json()
        assert gateway.triton.requests == before, "answered without Triton"
        served.version += 1
        second = (await gateway.http.post("/predict", content=photo)).json()
        assert gateway.triton.requests == before + 1, "another version is served: ask again"
        assert first["probability"] == second["probability"]
        text = (await gateway.http.get("/metrics")).text
        assert 'veriphoto_gateway_cache_total{outcome="hit"} 1.0' in text
        assert 'veriphoto_gateway_cache_total{outcome="stale"} 1.0' in text
        await gateway.desk.watchdog._look()
        assert gateway.triton.requests == before + 2, "test pictures reach Triton each time"
