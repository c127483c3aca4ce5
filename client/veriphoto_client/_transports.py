"""How requests travel: the protocol that a detector needs, and the choice of one by URL."""

from __future__ import annotations

from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

from veriphoto.contract import TRITON_GRPC_PORT, TRITON_HTTP_PORT
from veriphoto.errors import MissingExtraError, UsageError
from veriphoto_client._codec import Outputs

DEFAULT_URL: Final = f"http://127.0.0.1:{TRITON_HTTP_PORT}"
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds for one request, from sending to having the answer."""
DEFAULT_IN_FLIGHT: Final = 8


class Transport(Protocol):
    """Carries one encoded picture to a server and its tensors back. Bound to the event loop of its first request."""

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        """Scores one picture.

        Args:
            data: The bytes of an encoded file.
            request_id: Under which the server notes its answer; empty for none.

        Returns:
            FP32 PROBABILITY [1, 1], LOGIT [1, 1], EVIDENCE [1, K, G, G], STATISTICS [1, n], OPERATING_POINT [1, m].

        Raises:
            VeriphotoError: Nothing but this tree: ``ImageError`` for the picture, ``ServiceError`` for the service.
        """

    async def close(self) -> None:
        """Closes connections; may be called twice."""


def connect(url: str, *, timeout: float, in_flight: int) -> Transport:
    """Makes the transport that a URL asks for. Nothing is sent yet.

    Args:
        url: ``http://host:port`` or ``grpc://host:port``; without a port, Triton's own.
        timeout: Seconds for one request.
        in_flight: Largest number of requests at a time.

    Returns:
        The transport.

    Raises:
        UsageError: If the URL is not of that form.
        MissingExtraError: If tritonclient is not installed.
    """
    parts, port = _parse(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    # Imported late: tritonclient takes half a second, and `veriphoto train --help` has no use for it.
    try:
        if parts.scheme == "grpc":
            from veriphoto_client._grpc import GrpcTransport  # noqa: PLC0415

            return GrpcTransport(f"{host}:{port or TRITON_GRPC_PORT}", url=url, timeout=timeout)
        from veriphoto_client._http import HttpTransport  # noqa: PLC0415

        return HttpTransport(f"{host}:{port or TRITON_HTTP_PORT}", url=url, timeout=timeout, in_flight=in_flight)
    except ImportError as error:
        raise MissingExtraError("client", error.name) from error


def _parse(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad(url) from error
    rest = parts.path.rstrip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "grpc") or not parts.hostname or rest:
        raise _bad(url)
    return parts, port


def _bad(url: str) -> UsageError:
    return UsageError(f"{url!r} is no server address; write http://host:port or grpc://host:port")
