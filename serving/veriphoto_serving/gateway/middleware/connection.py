"""uvicorn's HTTP connection with the limits it lacks: time and size of headers, number of connections."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HEADER_BYTES: Final = 65_536


class GuardedProtocol(HttpToolsProtocol):
    """One connection. ``guarded`` makes a subclass with the numbers in it."""

    header_timeout: ClassVar[float] = 10.0
    most_connections: ClassVar[int] = 2000

    _timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepts, unless there are too many connections already."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
            return
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts bytes that belong to headers."""
        if self._timer is None and self._between_requests():
            self._expect_headers()  # a kept connection begins another request
        if self._timer is not None:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._timer is not None and self._header_bytes > _MOST_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("Headers too large.")

    def on_headers_complete(self) -> None:
        """Lets the request take its time from here on: bodies and answers have limits of their own."""
        self._stop_timer()
        # Headers that all come in one read are complete before data_received has looked at their size. uvicorn turns
        # this into a 400.
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _MOST_HEADER_BYTES:
            raise HttpParserError("headers too large")
        super().on_headers_complete()

    def _between_requests(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _expect_headers(self) -> None:
        self._header_bytes = 0
        self._timer = self.loop.call_later(self.header_timeout, self._too_slow)

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def guarded(header_timeout: float, most_connections: int) -> type[GuardedProtocol]:
    """Returns the protocol with these limits.

    Args:
        header_timeout: Seconds in which headers must have arrived.
        most_connections: Connections at a time.
    """
    limits: dict[str, Any] = {"header_timeout": header_timeout, "most_connections": most_connections}
    return type("Guarded", (GuardedProtocol,), limits)
