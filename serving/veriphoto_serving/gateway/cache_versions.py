"""Asks Triton whether a version of the classifier is still the one that answers.

By gRPC's ModelReady, which stays open where other APIs are closed. Its request is two strings and its answer one
boolean, so they are written and read here byte by byte: only the SDK may import Triton's client library.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

import grpc
import grpc.aio

from veriphoto.contract import CLASSIFIER, TRITON_GRPC_PORT
from veriphoto.errors import UsageError

_METHOD: Final = "/inference.GRPCInferenceService/ModelReady"
_TIMEOUT_S: Final = 0.5
_READY: Final = b"\x08\x01"
_NAME: Final = 0x0A
_VERSION: Final = 0x12


class ServedVersion:
    """Asks one Triton. Belongs to one event loop."""

    def __init__(self, url: str) -> None:
        """Remembers where to ask; connects at the first question.

        Args:
            url: ``grpc://host:port``; without a port, Triton's own.

        Raises:
            UsageError: If it is another kind of address.
        """
        parts = urlsplit(url)
        if parts.scheme != "grpc":
            raise UsageError("--cache-mb needs Triton's gRPC address: --triton-url grpc://host:port")
        self._target = parts.netloc if parts.port else f"{parts.netloc}:{TRITON_GRPC_PORT}"  # as the SDK reads it
        self._channel: grpc.aio.Channel | None = None

    async def is_served(self, version: int) -> bool:
        """Tells whether a version answers now: it is loaded, and the next one is not.

        While a new version replaces an old one both are loaded for a moment, and the new one answers already. Numbers
        only grow, by one: a rollback is published as a new version too.

        Args:
            version: Of the classifier.

        Returns:
            False also where Triton does not say.
        """
        try:
            now, newer = await asyncio.gather(self._ready(version), self._ready(version + 1))
        except grpc.aio.AioRpcError:
            return False
        return now and not newer

    async def close(self) -> None:
        """Closes the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _ready(self, version: int) -> bool:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._target, options=[("grpc.enable_http_proxy", 0)])
        ask = self._channel.unary_unary(_METHOD)
        answer: bytes = await ask(request_bytes(CLASSIFIER, version), timeout=_TIMEOUT_S)
        return answer == _READY


def request_bytes(model: str, version: int) -> bytes:
    """Writes a ModelReadyRequest.

    Args:
        model: Name of a model.
        version: Its version.

    Returns:
        The message: field 1 the name, field 2 the version as text; both shorter than 128 bytes.
    """
    parts = ((_NAME, model.encode()), (_VERSION, str(version).encode()))
    return b"".join(bytes((tag, len(text))) + text for tag, text in parts)
