"""uvicorn's HTTP protocol plus missing limits: headers, pipelined requests, unread answers, connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from httptools import HttpParserError
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from veriphoto_serving.gateway.errors import BusyError, status_of
from veriphoto_serving.gateway.middleware.connection_limits import ConnectionLimits
from veriphoto_serving.gateway.middleware.request import own_id, refusal_body, refusal_headers

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_MOST_HEADER_BYTES: Final = 65_536
_MOST_AHEAD: Final = 8
"""Requests that a caller may pipeline. One read of the socket could contain ten thousand."""
_PROBES: Final = frozenset(
    {b"/health", b"/healthz", b"/readyz", b"/startup", b"/metrics", b"/v2/health/live", b"/v2/health/ready"}
)


class GuardedProtocol(HttpToolsProtocol):
    """One connection; ``guarded`` makes subclasses that hold the limits."""

    header_timeout: ClassVar[float]
    limits: ClassVar[ConnectionLimits]

    _timer: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _only_probes = False
    _answering: RequestResponseCycle | None = None
    """The request being answered; ``cycle`` is the last one that has come in."""
    _ended = False
    """Whether the caller has closed its side for writing; it may still wait for an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepts the connection, unless there are too many and none can be closed for it."""
        super().connection_made(transport)
        admitted = self.limits.admit(self)
        if admitted is not None:
            self._only_probes = not admitted
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drops the connection and the requests that nobody waits for any more."""
        self._stop_timer()
        self.limits.leave(self)
        self.pipeline.clear()
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keeps the connection if the caller closed its side after a complete request, as HTTP allows."""
        self._ended = not self._between_requests() and not self.still_uploads()
        return self._ended

    def still_uploads(self) -> bool:
        """Tells whether a request's body is still arriving."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Counts the bytes of headers."""
        if self._timer is None and self._between_requests():
            self._expect_headers()  # another request on a kept-alive connection
        if self._timer is not None:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._timer is not None and self._header_bytes > _MOST_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("Headers too large.")

    def on_headers_complete(self) -> None:
        """Ends the time limit for headers; bodies and answers have limits of their own."""
        self._stop_timer()
        # Headers that arrive in one read are complete before data_received has checked their size. uvicorn turns this
        # into a 400.
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
        """Closes the connection after the last answer to a caller that sends no more."""
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
        """Answers only while the connection is open."""
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
    """A transport that ignores writes after its end: callers may disconnect at any moment, which is not an error."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.close, self.is_closing = transport.close, transport.is_closing

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    error = BusyError("too many connections at a time; try again in a moment")
    request_id = own_id(dict(scope["headers"]).get(b"x-request-id", b""))
    headers = {"x-request-id": request_id, **refusal_headers(error)}
    response = JSONResponse(refusal_body(scope["path"], error, request_id), status_of(error), headers=headers)
    await response(scope, receive, send)


def guarded(
    header_timeout: float, write_timeout: float, most_connections: int, observe: Callable[[str], None]
) -> type[GuardedProtocol]:
    """Returns a protocol class with these limits.

    Args:
        header_timeout: Seconds for headers to arrive.
        write_timeout: Seconds after which a caller that reads nothing of its answer is cut off.
        most_connections: Connections at a time.
        observe: Called with the reason when a connection is closed; see ``ConnectionLimits``.
    """
    limits: dict[str, Any] = {
        "header_timeout": header_timeout,
        "limits": ConnectionLimits(most_connections, write_timeout, observe),
    }
    return type("Guarded", (GuardedProtocol,), limits)
