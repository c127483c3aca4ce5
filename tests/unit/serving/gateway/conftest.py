"""A gateway in the process itself, before the shipped fake transport."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from veriphoto_client import FakeTransport
from veriphoto_client.triton.transport import Outputs
from veriphoto_serving.gateway.app import create_app
from veriphoto_serving.gateway.log_filter import LOGGERS, LogFilter
from veriphoto_serving.gateway.server import GatewayServer, prepare
from veriphoto_serving.gateway.services import Services
from veriphoto_serving.gateway.settings import GatewaySettings


@pytest.fixture(autouse=True)
def nothing_said_yet() -> None:
    """Lets the log tell of faults that an earlier test has had, too."""
    for name in LOGGERS:
        for each in logging.getLogger(name).filters:
            if isinstance(each, LogFilter):
                each._causes.clear()


KEYS = "shop=0123456789abcdef,app=fedcba9876543210"


class Triton(FakeTransport):
    """A Triton whose behaviour a test can change once the gateway is up."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.slow = 0.0

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        if self.fault is not None:
            raise self.fault
        await asyncio.sleep(self.slow)
        return await super().score(data, request_id)


class Gateway:
    """What a test holds of a running gateway."""

    def __init__(self, app: FastAPI, http: httpx.AsyncClient, triton: Triton) -> None:
        self.app, self.http, self.triton = app, http, triton

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services


Open = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def open_gateway() -> Open:
    """Opens gateways: keyword arguments are settings."""

    @asynccontextmanager
    async def opened(**settings: Any) -> AsyncIterator[Gateway]:
        triton = Triton()
        chosen = {"canary_interval": 60.0, "sidecar_url": "http://127.0.0.1:9/drift", **settings}
        app = create_app(GatewaySettings(**chosen), transport=triton)
        async with app.router.lifespan_context(app):
            await wait_for(lambda: app.state.services.watchdog.state == "ok")
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield Gateway(app, http, triton)

    return opened


@pytest.fixture
async def gateway(open_gateway: Open) -> AsyncIterator[Gateway]:
    async with open_gateway() as opened:
        yield opened


async def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def picture(brightness: int = 200, size: tuple[int, int] = (300, 260), kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (brightness,) * 3).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def photo() -> bytes:
    return picture()


@contextmanager
def listening(**settings: Any) -> Iterator[tuple[str, GatewayServer]]:
    """Serves a gateway over a real socket, on a thread of its own."""
    up = threading.Event()
    chosen = {"gateway_port": 0, "canary_interval": 60.0, "sidecar_url": "http://127.0.0.1:9/drift", **settings}
    server, listener = prepare(GatewaySettings(**chosen), transport=FakeTransport(), ready=lambda _: up.set())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    with listener:
        thread.start()
        assert up.wait(10)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", server
        finally:
            server.should_exit = True
            thread.join(15)
