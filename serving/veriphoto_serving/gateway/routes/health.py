"""The routes for health, metrics and drift."""

from __future__ import annotations

import time
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from veriphoto import __version__
from veriphoto_serving.gateway.models import DriftAnswer, ErrorAnswer, HealthAnswer, StateAnswer
from veriphoto_serving.gateway.routes.predict import NEEDS_KEY
from veriphoto_serving.gateway.services import Services, services_of

router: Final = APIRouter(tags=["health"])

_PROBE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": StateAnswer}, 503: {"model": StateAnswer}}
_KEYED: Final[dict[int | str, dict[str, Any]]] = {401: {"model": ErrorAnswer}}


@router.get("/health", responses={200: {"model": HealthAnswer}, 503: {"model": HealthAnswer}})
async def health(request: Request) -> JSONResponse:
    """How the service is: 200 only if Triton has scored a test picture in the last seconds."""
    services = services_of(request)
    last_probe = services.watchdog.last_probe
    status = _status(services)
    body = {
        "status": status,
        "reason": "the gateway is stopping" if services.draining else services.watchdog.reason,
        "model_version": last_probe.model_version if last_probe else None,
        "threshold": last_probe.threshold if last_probe else None,
        "key": request.state.key,
        "feedback": services.feedback is not None and request.state.key in services.feedback_from,
        "uptime_s": round(time.monotonic() - services.started, 1),
        "canary": _last_probe(services),
        "drift": {"state": await services.drift_monitor.state()},
        "version": __version__,
    }
    return JSONResponse(body, 200 if status == "ok" else 503)


@router.get("/healthz", responses={200: {"model": StateAnswer}})
async def healthz() -> JSONResponse:
    """Whether the gateway's process is alive; says nothing of Triton."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz", responses=_PROBE)
async def readyz(request: Request) -> JSONResponse:
    """Whether requests should be sent here now."""
    status = _status(services_of(request))
    return JSONResponse({"status": "ready" if status == "ok" else status}, 200 if status == "ok" else 503)


@router.get("/startup", responses=_PROBE)
async def startup(request: Request) -> JSONResponse:
    """Whether Triton has scored its first test picture."""
    started = services_of(request).watchdog.last_probe is not None
    return JSONResponse({"status": "started" if started else "starting"}, 200 if started else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_KEYED},
    openapi_extra=NEEDS_KEY,
)
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(generate_latest(services_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/drift", responses={200: {"model": DriftAnswer}, **_KEYED}, openapi_extra=NEEDS_KEY)
async def drift(request: Request) -> JSONResponse:
    """What the drift monitor reports; `state` is `away` if it does not answer."""
    return JSONResponse(await services_of(request).drift_monitor.report())


def _status(services: Services) -> str:
    return "draining" if services.draining else services.watchdog.state


def _last_probe(services: Services) -> dict[str, float] | None:
    last_probe = services.watchdog.last_probe
    if last_probe is None:
        return None
    return {"age_s": round(time.monotonic() - last_probe.at, 1), "latency_ms": round(last_probe.milliseconds, 1)}
