"""A real gateway on a real socket, in a thread of the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from veriphoto_client import Transport
from veriphoto_serving.gateway.server import prepare
from veriphoto_serving.gateway.settings import GatewaySettings


@contextmanager
def gateway(transport: Transport | None = None, **settings: Any) -> Iterator[str]:
    """Serves a gateway on a free port; yields its address once Triton, or the transport, has scored for it."""
    up = threading.Event()
    chosen = {"gateway_port": 0, "canary_interval": 60.0, "sidecar_url": "http://127.0.0.1:9/drift", **settings}
    server, listening = prepare(GatewaySettings(**chosen), transport=transport, ready=lambda _: up.set())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    with listening:
        thread.start()
        try:
            assert up.wait(30)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            _until_ready(url)
            yield url
        finally:
            server.should_exit = True
            thread.join(15)


def _until_ready(url: str) -> None:
    for _ in range(600):
        if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
            return
        time.sleep(0.05)
    raise AssertionError("the gateway has not scored its first picture")
