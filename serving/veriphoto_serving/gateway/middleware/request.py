"""The middleware around every request: request id, API key, rate limit, errors as JSON, metrics.

It is plain ASGI, which takes a tenth of the time of Starlette's ``call_next`` and can discard a body nobody has read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from veriphoto.contract import ANONYMOUS, ENSEMBLE
from veriphoto.errors import VeriphotoError
from veriphoto.prediction_log.record import PROBE_PREFIX, keep_id
from veriphoto.telemetry import tracing
from veriphoto_serving.gateway.errors import UnauthorizedError, UploadTimeoutError, detail_of, retry_after, status_of
from veriphoto_serving.gateway.middleware.keys import KeyRing, shown_key
from veriphoto_serving.gateway.routes.documentation import OPEN_PAGES
from veriphoto_serving.gateway.services import Services

if TYPE_CHECKING:
    from opentelemetry.trace import Span

KSERVE: Final = "/v2"
OPEN: Final = OPEN_PAGES | {
    *("/", "/privacy", "/health", "/healthz", "/readyz", "/startup"),
    *(KSERVE, f"{KSERVE}/health/live", f"{KSERVE}/health/ready", f"{KSERVE}/models/{ENSEMBLE}/ready"),
}
"""Paths that need no key."""
PREFIX: Final = "/v1"
UNMATCHED: Final = "unmatched"
"""Name in metrics of what is no route."""
CHARGED: Final = 1
"""Pictures that a request is charged before its body is read."""

_LOG: Final = logging.getLogger(__name__)
_LINGER_S: Final = 5.0
_LINGER_BYTES: Final = 128_000_000
_DISCARD_S: Final = 0.02
_DISCARD_BYTES: Final = 1_000_000


class RequestMiddleware:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, services: Services, keys: KeyRing, routes: Sequence[Route]) -> None:
        """Remembers what it wraps.

        Args:
            app: The application that answers.
            services: The gateway's parts.
            keys: The API keys.
            routes: All routes without their prefix, for the names of those that a refused request never reaches.
        """
        self._app = app
        self._services = services
        self._keys = keys
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self._app, self._services, self._keys, self._routes, scope, receive, send).run()


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        app: ASGIApp,
        services: Services,
        keys: KeyRing,
        routes: Sequence[Route],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._app, self._services, self._keys, self._routes = app, services, keys, routes
        scope = {**scope, "path": plain_path(scope["path"])}
        self._scope, self._receive, self._send = scope, receive, send
        self._headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self._id = own_id(self._headers.get(b"x-request-id", b""))
        self._key = ANONYMOUS
        self._status = 0
        self._unread = self._headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self._headers

    async def run(self) -> None:
        started = time.perf_counter()
        self._scope.setdefault("state", {})["request_id"] = self._id
        # Health checks and pages would drown the photos in a trace.
        traced = tracing.server_span(self._headers) if self._scope["method"] == "POST" else contextlib.nullcontext()
        with bound_contextvars(request_id=self._id), traced as span:
            try:
                await self._admit_and_answer()
            finally:
                route = route_of(self._scope, self._routes)
                self._count(route, time.perf_counter() - started)
                self._describe(span, route)

    async def _admit_and_answer(self) -> None:
        try:
            self._admit()
            await self._app(self._scope, self.receive, self.send)
        except VeriphotoError as error:
            await self._refuse(error)
        except Exception:
            _LOG.exception("request failed")  # the log filter keeps only the error's type
            if self._status:
                raise
            await self._refuse(VeriphotoError("internal error"))

    def _admit(self) -> None:
        state = self._scope["state"]
        state["key"] = None
        try:
            self._key = state["key"] = self._keys.identify(shown_key(self._headers))
        except UnauthorizedError:
            if bare_path(self._scope["path"]) not in OPEN:
                raise
        if self._scope["method"] == "POST":
            self._services.rate.take(self._key, CHARGED)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._extra_headers()]
        await self._send(message)

    def _extra_headers(self) -> list[tuple[bytes, bytes]]:
        extra = [(b"x-request-id", self._id.encode()), (b"x-content-type-options", b"nosniff")]
        extra.append((b"cache-control", b"no-store"))
        if self._services.draining:
            extra.append((b"connection", b"close"))
        return extra

    async def _refuse(self, error: VeriphotoError) -> None:
        self._services.metrics.refused(error.code)
        response = JSONResponse(
            refusal_body(self._scope["path"], error, self._id),
            status_of(error),
            headers=refusal_headers(error),
        )
        if self._status:
            return  # the answer has started, so it cannot be replaced
        if self._unread and not isinstance(error, UploadTimeoutError):
            await self._discard(_DISCARD_S, _DISCARD_BYTES)
        if not self._unread:
            await response(self._scope, self.receive, self.send)
            return
        # The caller is still sending. Closing now would make its system discard the answer unread, so: answer, keep
        # reading for a moment, then close.
        response.headers["connection"] = "close"
        await self.send(
            {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        )
        await self.send({"type": "http.response.body", "body": response.body, "more_body": True})
        if b"expect" not in self._headers and not isinstance(error, UploadTimeoutError):
            await self._discard(_LINGER_S, _LINGER_BYTES)
        await self.send({"type": "http.response.body", "body": b""})

    async def _discard(self, seconds: float, most: int) -> None:
        if b"expect" in self._headers and not self._status:
            return  # the caller waits for "100 Continue" before it sends the body
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._unread and most > 0:
                    most -= len((await self.receive()).get("body", b""))

    def _count(self, route: str, seconds: float) -> None:
        metrics = self._services.metrics
        metrics.requests.labels(route, method_of(self._scope), str(self._status or 499), self._key).inc()
        # Refusals by key or rate take no time; many of them would hide that a route's own answers are slow.
        metrics.latency.labels(route if "route" in self._scope else UNMATCHED).observe(seconds)

    def _describe(self, span: Span | None, route: str) -> None:
        method = method_of(self._scope)
        attributes: dict[str, str | int] = {
            "http.route": route,
            "http.request.method": method,
            "http.response.status_code": self._status or 499,
            "veriphoto.request_id": self._id,
        }
        tracing.describe(span, f"{method} {route}", attributes, failed=self._status >= 500)


def own_id(given: bytes) -> str:
    """Returns the id of a request: the caller's if it may be stored in the prediction log, otherwise a new one.

    Args:
        given: The caller's id. File names, ids of probes and positions in a batch are not kept.
    """
    text = given.decode("latin-1")
    harmless = keep_id(text) and not text.startswith(PROBE_PREFIX) and "#" not in text
    return text if harmless else uuid.uuid4().hex


def refusal_headers(error: VeriphotoError) -> dict[str, str]:
    """Returns the headers that belong to a refusal."""
    headers: dict[str, Any] = {}
    wait = retry_after(error)
    if wait is not None:
        headers["retry-after"] = str(wait)
    if isinstance(error, UnauthorizedError):
        headers["www-authenticate"] = 'Bearer realm="veriphoto"'
    return headers


def refusal_body(path: str, error: VeriphotoError, request_id: str) -> dict[str, str]:
    """Returns the body of a refusal: Triton's clients show their users the field ``error`` and nothing else.

    Args:
        path: Path of the request.
        error: Why it was refused.
        request_id: Id of the request.
    """
    code, detail = error.code, detail_of(error)
    if path == KSERVE or path.startswith(f"{KSERVE}/"):
        return {"error": f"[{code}] {detail}", "request_id": request_id}
    return {"error": code, "detail": detail, "request_id": request_id}


def bare_path(path: str) -> str:
    """Returns a path without the version prefix."""
    return (path[len(PREFIX) :] or "/") if path == PREFIX or path.startswith(f"{PREFIX}/") else path


def plain_path(path: str) -> str:
    """Returns a path without trailing slashes, except for the root."""
    bare = path.rstrip("/")
    return f"{bare}/" if bare in ("", PREFIX) else bare


def route_of(scope: Scope, routes: Sequence[Route]) -> str:
    """Returns the route's name for metrics, never the text of a caller.

    Args:
        scope: A request.
        routes: Those to look among if the request was refused before it reached one.
    """
    if "route" in scope:
        return bare_path(scope["route"].path)
    bare = {**scope, "path": bare_path(scope["path"])}
    return next((each.path for each in routes if each.matches(bare)[0] is not Match.NONE), UNMATCHED)


def method_of(scope: Scope) -> str:
    """Returns the method for metrics; unknown ones share one name."""
    method: str = scope["method"]
    return method if method in ("GET", "HEAD", "POST", "OPTIONS") else "OTHER"
