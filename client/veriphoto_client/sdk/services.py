"""The services behind a detector: Triton, the REST gateway, or whichever of the two answers at an address."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

from veriphoto.contract import TRITON_GRPC_PORT, TRITON_HTTP_PORT
from veriphoto.errors import MissingExtraError, UsageError
from veriphoto.prediction_log.record import PROBE_PREFIX
from veriphoto.verdict import Prediction
from veriphoto_client.sdk.answers import decode_answer
from veriphoto_client.sdk.detection import Detection, FeedbackStatus, Health
from veriphoto_client.sdk.probe import probe_picture
from veriphoto_client.triton.transport import Transport

HEALTH_ID: Final = f"{PROBE_PREFIX}health"
"""The request id of the test photos of ``health``: the prediction log does not count them as traffic."""


class ServiceKind(StrEnum):
    """The two servers of a Veriphoto installation that a URL may lead to."""

    AUTO = "auto"
    """``grpc://`` is Triton, ``https://`` or a path is the gateway; a server at ``http://host:port`` is asked once."""
    TRITON = "triton"
    GATEWAY = "gateway"


class Service(Protocol):
    """Scores photos, one per request. Bound to the event loop of its first request."""

    patience: float
    """Seconds for which to retry, unless the caller says otherwise."""

    async def detect(self, data: bytes, request_id: str = "") -> Detection:
        """Scores the bytes of one encoded file. Raises only subclasses of ``VeriphotoError``."""

    async def health(self) -> Health:
        """Checks that photos are scored; ``url`` is left empty. Does not count as traffic.

        Raises:
            ServiceError: If they are not.
        """

    async def feedback(self, request_id: str, truth: Prediction, note: str) -> FeedbackStatus:
        """Tells what a photo really is; see ``AsyncDetector.feedback``."""

    async def kind(self) -> ServiceKind:
        """Returns which server it is, never ``AUTO``.

        Raises:
            ServiceError: If it has to be asked and does not answer.
        """

    async def close(self) -> None:
        """Closes connections; may be called twice."""


class TensorService:
    """Implements ``Service`` with a transport to Triton."""

    patience = 0.0

    def __init__(self, transport: Transport) -> None:
        """Stores the transport."""
        self._transport = transport

    async def detect(self, data: bytes, request_id: str = "") -> Detection:
        """See ``Service.detect``."""
        return decode_answer(await self._transport.score(data, request_id), request_id)

    async def health(self) -> Health:
        """See ``Service.health``: scores a small test photo."""
        started = time.perf_counter()
        verdict = (await self.detect(probe_picture(), HEALTH_ID)).verdict
        return Health(
            url="",
            model_version=verdict.model_version,
            threshold=verdict.threshold,
            latency_ms=1000.0 * (time.perf_counter() - started),
        )

    async def feedback(self, request_id: str, truth: Prediction, note: str) -> FeedbackStatus:  # noqa: ARG002 - the protocol's
        """See ``Service.feedback``: Triton takes none."""
        raise UsageError("Triton takes no feedback; give the gateway's address, which `veriphoto serve` prints")

    async def kind(self) -> ServiceKind:
        """See ``Service.kind``."""
        return ServiceKind.TRITON

    async def close(self) -> None:
        """See ``Service.close``."""
        await self._transport.close()


class _EitherService:
    """Finds out at the first request whether a gateway answers; any other server is taken for Triton."""

    patience = 0.0

    def __init__(
        self, open_triton: Callable[[], Service], gateway: Service, is_gateway: Callable[[], Awaitable[bool]]
    ) -> None:
        self._open_triton = open_triton
        self._gateway = gateway
        self._is_gateway = is_gateway
        self._found: Service | None = None
        self._asking = asyncio.Lock()

    async def detect(self, data: bytes, request_id: str = "") -> Detection:
        service = self._found or await self._find()
        return await service.detect(data, request_id)

    async def health(self) -> Health:
        return await (self._found or await self._find()).health()

    async def feedback(self, request_id: str, truth: Prediction, note: str) -> FeedbackStatus:
        return await (self._found or await self._find()).feedback(request_id, truth, note)

    async def kind(self) -> ServiceKind:
        return await (self._found or await self._find()).kind()

    async def close(self) -> None:
        await self._gateway.close()
        if self._found is not None:
            await self._found.close()

    async def _find(self) -> Service:
        async with self._asking:
            if self._found is None:
                if await self._is_gateway():
                    self._found = self._gateway
                else:
                    await self._gateway.close()
                    self._found = self._open_triton()
                self.patience = self._found.patience
        return self._found


def connect(url: str, *, api_key: str | None, kind: ServiceKind, timeout: float, in_flight: int) -> Service:
    """Returns the service that a URL leads to. Nothing is sent yet.

    Args:
        url: ``http://host:port``, ``https://host`` or ``grpc://host:port``; without a port, ``http`` and ``grpc`` mean
            Triton's own.
        api_key: Key for the gateway; it is never sent to Triton.
        kind: The server that the URL leads to, if the caller knows.
        timeout: Seconds for one request.
        in_flight: Largest number of requests at a time.

    Raises:
        UsageError: If the URL does not have that form, or cannot lead to that server, or no key looks like that.
        MissingExtraError: If the packages of the extra ``client`` are not installed.
    """
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise UsageError("the API key has characters that no key has; copy it again, without quotes and line ends")
    parts, port = _parse(url)
    only = ServiceKind.TRITON if parts.scheme == "grpc" else ServiceKind.GATEWAY if _for_gateway(parts) else kind
    if ServiceKind.AUTO not in (kind, only) and kind is not only:
        raise UsageError(f"{url!r} cannot be the address of the {kind}; Triton speaks grpc and plain http")
    chosen = only if kind is ServiceKind.AUTO else kind
    # Imported late: these libraries take half a second, which `veriphoto train --help` should not pay for.
    try:
        if chosen is ServiceKind.TRITON:
            return TensorService(_triton(parts, port, url, timeout, in_flight))
        from veriphoto_client.sdk.gateway import GatewayService  # noqa: PLC0415

        base = url if chosen is ServiceKind.GATEWAY or port else f"{url.rstrip('/')}:{TRITON_HTTP_PORT}"
        gateway = GatewayService(base, api_key=api_key, timeout=timeout, in_flight=in_flight)
        if chosen is ServiceKind.GATEWAY:
            return gateway
        return _EitherService(
            lambda: TensorService(_triton(parts, port, url, timeout, in_flight)), gateway, gateway.is_gateway
        )
    except ImportError as error:
        raise MissingExtraError("client", error.name) from error


def _triton(parts: SplitResult, port: int | None, url: str, timeout: float, in_flight: int) -> Transport:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if parts.scheme == "grpc":
        from veriphoto_client.triton.grpc import GrpcTransport  # noqa: PLC0415

        return GrpcTransport(f"{host}:{port or TRITON_GRPC_PORT}", url=url, timeout=timeout)
    from veriphoto_client.triton.http import HttpTransport  # noqa: PLC0415

    return HttpTransport(f"{host}:{port or TRITON_HTTP_PORT}", url=url, timeout=timeout, in_flight=in_flight)


def _for_gateway(parts: SplitResult) -> bool:
    return parts.scheme == "https" or bool(parts.path.rstrip("/"))


def _parse(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad(url) from error
    rest = parts.query or parts.fragment or parts.username or (parts.scheme == "grpc" and parts.path.rstrip("/"))
    if parts.scheme not in ("http", "https", "grpc") or not parts.hostname or rest:
        raise _bad(url)
    return parts, port


def _bad(url: str) -> UsageError:
    return UsageError(f"{url!r} is no server address; write http://host:port, https://host or grpc://host:port")
