"""uvicorn's HTTP connection with the limits it lacks: headers, requests sent ahead, answers not read, connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from httptools import HttpParserError
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from veriphoto_serving.gateway.middleware.connection_limits import ConnectionLimits

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_MOST_HEADER_BYTES: Final = 65_536
_MOST_AHEAD: Final = 8
"""Requests that a caller may send before the first is answered. One read of the socket could hold ten thousand."""
_PROBES: Final = frozenset({b"/health", b"/healthz", b"/readyz", b"/startup", b"/metrics"})


class GuardedProtocol(HttpToolsProtocol):
    """One connection. ``guarded`` makes a subclass with the numbers in it."""

    header_timeout: ClassVar[float]
    limits: ClassVar[ConnectionLimits]

    _timer: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _only_probes = False
    _answering: RequestResponseCycle | None = None
    """The request being answered; ``cycle`` is the last one that has come in."""
    _ended = False
    """Whether the caller has said that no more requests come; they may still wait for an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepts, unless there are too many connections already and none can make room."""
        super().connection_made(transport)
        admitted = self.limits.admit(self)
        if admitted is not None:
            self._only_probes = not admitted
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection, and the requests that nobody waits for any more."""
        self._stop_timer()
        self.limits.leave(self)
        self.pipeline.clear()
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Still answers who has closed their side for writing after a whole request, as HTTP allows."""
        self._ended = not self._between_requests() and not self.still_uploads()
        return self._ended

    def still_uploads(self) -> bool:
        """Tells whether a request's body is still arriving."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

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
        if len(self.pipeline) >= _MOST_AHEAD:
            self.transport.abort()  # a refusal would be read as the answer to an earlier request
            raise HttpParserError("too many requests ahead")
        if self._only_probes:
            self.app = self.app if self.url.partition(b"?")[0].removeprefix(b"/v1") in _PROBES else _full
        super().on_headers_complete()
        if self._only_probes:
            self.cycle.keep_alive = False
        self.limits.works(self)

    def on_response_complete(self) -> None:
        """Closes after the last answer to a caller who sends no more."""
        last = not self.pipeline
        super().on_response_complete()
        if last:
            self.limits.waits(self)
            if self._ended:
                self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        cycle.transport = cast(asyncio.Transport, _Quiet(self.transport))
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Says so only where somebody can hear it."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

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


class _Quiet:
    """A transport that may be written to after its end: callers vanish at any moment, and that is no fault."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.close, self.is_closing = transport.close, transport.is_closing

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    body = {"error": "overloaded", "detail": "too many connections at a time; try again in a moment"}
    await JSONResponse(body, 503, headers={"retry-after": "1"})(scope, receive, send)


def guarded(
    header_timeout: float, write_timeout: float, most_connections: int, observe: Callable[[str], None]
) -> type[GuardedProtocol]:
    """Returns the protocol with these limits.

    Args:
        header_timeout: Seconds in which headers must have arrived.
        write_timeout: Seconds in which a caller must have taken a part of an answer.
        most_connections: Connections at a time.
        observe: Told why a connection was ended; see ``ConnectionLimits``.
    """
    limits: dict[str, Any] = {
        "header_timeout": header_timeout,
        "limits": ConnectionLimits(most_connections, write_timeout, observe),
    }
    return type("Guarded", (GuardedProtocol,), limits)
