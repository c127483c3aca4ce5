"""Assembles the gateway's ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from veriphoto import __version__
from veriphoto.contract import ANONYMOUS, ENSEMBLE
from veriphoto.errors import UsageError
from veriphoto.prediction_log.record import PROBE_PREFIX
from veriphoto_client import AsyncDetector, Transport
from veriphoto_client.sdk.probe import probe_picture
from veriphoto_serving.gateway.answering.feedback import open_desk
from veriphoto_serving.gateway.answering.scoring import Scorer
from veriphoto_serving.gateway.answering.shadow import Shadow
from veriphoto_serving.gateway.errors import BadRequestError, GatewayError, MethodNotAllowedError, NotFoundError
from veriphoto_serving.gateway.health.drift import DriftMonitorClient
from veriphoto_serving.gateway.health.process_watch import ProcessWatch
from veriphoto_serving.gateway.health.revival import LocalReviver
from veriphoto_serving.gateway.health.watchdog import Watchdog
from veriphoto_serving.gateway.kserve.schema import InferRequest
from veriphoto_serving.gateway.metrics import Metrics
from veriphoto_serving.gateway.middleware.admission import Bound
from veriphoto_serving.gateway.middleware.keys import KeyRing
from veriphoto_serving.gateway.middleware.memory import upload_budget
from veriphoto_serving.gateway.middleware.ratelimit import RateLimit
from veriphoto_serving.gateway.middleware.request import PREFIX, RequestMiddleware, bare_path, refusal_body
from veriphoto_serving.gateway.middleware.upload import Uploads
from veriphoto_serving.gateway.models import FeedbackRequest
from veriphoto_serving.gateway.routes import about, documentation, feedback, health, kserve, predict
from veriphoto_serving.gateway.services import Services
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.launcher import TritonServer

WATCHDOG_ID = f"{PROBE_PREFIX}watchdog"
"""Request id of the watchdog's probes in the prediction log; they do not count as traffic."""

_ABOVE_ALL_PLACES = 4
"""Requests to Triton beyond the admitted pictures, so that a probe never has to wait."""


def create_app(
    settings: GatewaySettings, *, server: TritonServer | None = None, transport: Transport | None = None
) -> FastAPI:
    """Builds a gateway.

    Args:
        settings: How it runs.
        server: The Triton to watch over, if this process has started it.
        transport: Used to reach Triton instead of ``settings.triton_url``.

    Returns:
        The ASGI application; ``app.state.services`` holds its parts.

    Raises:
        UsageError: If other machines could use the gateway without a key, or ``feedback_keys`` names one that is none.
        DatabaseError: If there is a review database and it cannot be used.
    """
    keys = KeyRing(settings.keys())
    detector = AsyncDetector(
        settings.triton_url,
        timeout=settings.request_timeout + 1.0,  # the scorer's own deadline comes first
        max_in_flight=settings.places + _ABOVE_ALL_PLACES,
        transport=transport,
    )
    services = _services(replace(settings, api_keys=""), keys, detector, server)  # from here on only digests are kept
    app = FastAPI(
        title="Veriphoto API",  # generated clients take their name from it, and veriphoto_client is ours
        version=__version__,
        summary="Tells whether a product photo was taken by a camera or made by an AI generator.",
        docs_url=None,  # FastAPI's own loads Swagger from the internet; ours is in routes/documentation.py
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        # FastAPI's own would send errors' texts and addresses; what is traced is in RequestMiddleware.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,  # behind TLS it would redirect to http://; RequestMiddleware strips the slash
        lifespan=lambda _: _lifespan(services, detector, server),
    )
    app.state.services = services
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    parts = [predict.router, health.router, about.router, *([feedback.router] if services.feedback else [])]
    for part in parts:
        app.include_router(part)
        app.include_router(part, prefix=PREFIX, include_in_schema=False)
    others = [documentation.router, kserve.router]
    for part in others:
        app.include_router(part)
    app.add_exception_handler(HTTPException, _refused_by_router)
    routes = [each for part in (app.router, *parts, *others) for each in part.routes if isinstance(each, Route)]
    app.add_middleware(RequestMiddleware, services=services, keys=keys, routes=routes)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
        )
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """Adds to FastAPI's description what it does not know of: the API key and the bodies, which we read ourselves."""
    description = FastAPI.openapi(app)
    components = description.setdefault("components", {})
    components.setdefault("securitySchemes", {})["ApiKey"] = {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "Where keys are set.",
    }
    components["schemas"] |= predict.FORMS
    for model in (FeedbackRequest, InferRequest):
        body = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= {**body.pop("$defs", {}), model.__name__: body}
    return description


def _services(
    settings: GatewaySettings, keys: KeyRing, detector: AsyncDetector, server: TritonServer | None
) -> Services:
    metrics = Metrics()
    watchdog = Watchdog(
        lambda: detector.predict(probe_picture(), request_id=WATCHDOG_ID),
        interval=settings.canary_interval,
        timeout=settings.canary_timeout,
        reviver=LocalReviver(server) if server else None,
        address=settings.triton_url,
        observe=lambda outcome: metrics.probes.labels(outcome).inc(),
    )
    places = Bound(settings.places, "pictures")
    budget = settings.max_buffered_bytes or upload_budget(beside_triton=server is not None)
    scorer = Scorer(
        detector,
        watchdog,
        places=places,
        deadline=settings.request_timeout,
        batch_places=min(settings.batch_in_flight, max(1, settings.places // 2)),
        transit=budget // 3,
    )
    metrics.watch(lambda: watchdog.state == "ok", lambda: places.taken)
    return Services(
        settings=settings,
        scorer=scorer,
        uploads=Uploads(Bound(budget - budget // 3, "uploads"), settings.upload_timeout),
        watchdog=watchdog,
        metrics=metrics,
        rate=RateLimit(settings.rate_limit, settings.rate_burst),
        drift_monitor=DriftMonitorClient(settings.sidecar_url),
        shadow=Shadow(settings.shadow_var or Path("var"), settings.shadow_share),
        feedback=open_desk(settings.review_database) if settings.review_database else None,
        feedback_from=_senders(settings, keys),
    )


def _senders(settings: GatewaySettings, keys: KeyRing) -> frozenset[str]:
    """Returns the names of the callers that may send feedback.

    Raises:
        UsageError: If one is the name of no API key.
    """
    named = {name.strip() for name in settings.feedback_keys.split(",") if name.strip()}
    if unknown := sorted(named - keys.names):
        known = ", ".join(sorted(keys.names)) or "none; set VERIPHOTO_API_KEYS or --api-keys-file"
        raise UsageError(f"--feedback-keys: {unknown[0]!r} is the name of no API key (known: {known})")
    # Without keys all callers have the same name; then only this machine is trusted.
    return frozenset(named | {ANONYMOUS} if settings.local and not keys.needed else named)


@contextlib.asynccontextmanager
async def _lifespan(services: Services, detector: AsyncDetector, server: TritonServer | None) -> AsyncIterator[None]:
    watch = ProcessWatch(services.watchdog.alarm, services.watchdog.stuck)
    if server is not None:
        services.watchdog.on_probe(lambda: watch.watch(server.pid))
    watching = asyncio.create_task(services.watchdog.run())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        watch.close()
        await services.close()
        await detector.close()


async def _refused_by_router(request: Request, error: Exception) -> JSONResponse:
    """Gives Starlette's own refusals the same body as all others."""
    # Starlette types handlers by Exception and calls this one with its HTTPException only.
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (400, None)
    kinds: dict[int, GatewayError] = {
        404: NotFoundError(_not_here(request.scope["path"])),
        405: MethodNotAllowedError("the route does not know this method; see the header Allow"),
    }
    refusal = kinds.get(status, BadRequestError("the request cannot be read"))
    request.app.state.services.metrics.refused(refusal.code)
    body = refusal_body(request.scope["path"], refusal, request.state.request_id)
    return JSONResponse(body, status if status in kinds else 400, headers=headers)


def _not_here(path: str) -> str:
    if path.startswith("/v2/models/"):
        return f"there is no such model or route; the model is {ENSEMBLE}"
    if bare_path(path) == feedback.PATH:
        return "feedback is off; the operator turns it on with --review-database, and names keys in --feedback-keys"
    return "there is no such route; see /docs"
