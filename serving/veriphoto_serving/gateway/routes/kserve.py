"""KServe v2 on the gateway: Triton's and KServe's own clients, with the bounds of ``/predict``.

A request is read here and its photos go the way of all photos; nothing that a caller sends is handed on to Triton.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from veriphoto.contract import ENSEMBLE, IMAGE, MAX_BATCH_SIZE
from veriphoto.errors import ImageError, VeriphotoError
from veriphoto_serving.gateway import examples
from veriphoto_serving.gateway.errors import NotFoundError
from veriphoto_serving.gateway.kserve import schema
from veriphoto_serving.gateway.kserve.tensors import LENGTH_HEADER
from veriphoto_serving.gateway.kserve.wire import JSON_BYTES, Question, one_photo, read_question, write_answer
from veriphoto_serving.gateway.middleware.request import CHARGED, own_id
from veriphoto_serving.gateway.middleware.upload import bytes_in
from veriphoto_serving.gateway.routes.predict import NEEDS_KEY, RESPONSES
from veriphoto_serving.gateway.services import Assessment, Services, services_of

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {**response, "model": schema.KserveError} for status, response in RESPONSES.items()
}
_KEYED: Final[dict[int | str, dict[str, Any]]] = {status: _REFUSALS[status] for status in (401,)}
_READY: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": schema.KserveState},
    503: {"model": schema.KserveState, "description": "Photos cannot be scored now."},
}
_ANSWER: Final[dict[str, Any]] = {
    "model": schema.InferAnswer,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    "description": "JSON, or JSON with binary data behind it where that was asked for.",
}
_MODEL: Final = f"/v2/models/{ENSEMBLE}"
_VERSION: Final = f"{_MODEL}/versions/{{version}}"
_BODY: Final[dict[str, Any]] = {
    **NEEDS_KEY,
    "parameters": [
        {
            "name": LENGTH_HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "integer", "minimum": 0},
            "description": "Bytes of JSON in front of the binary data; 0 where the body is one file.",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InferRequest"},
                "example": examples.INFER_REQUEST,
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}

router: Final = APIRouter(tags=["kserve"])


@router.get("/v2", responses={200: {"model": schema.ServerMetadata}})
async def kserve_server() -> JSONResponse:
    """What answers here, and which extensions it knows."""
    return JSONResponse(schema.server_metadata())


@router.get("/v2/health/live", responses={200: {"model": schema.KserveState}})
async def kserve_live() -> JSONResponse:
    """Whether the gateway's process is alive."""
    return JSONResponse({"name": "veriphoto", "ready": True})


@router.get("/v2/health/ready", responses=_READY)
async def kserve_ready(request: Request) -> JSONResponse:
    """Whether requests should be sent here now."""
    return _state(services_of(request), "veriphoto")


@router.get(f"{_VERSION}/ready", responses=_READY, include_in_schema=False)
@router.get(f"{_MODEL}/ready", responses=_READY)
async def kserve_model_ready(request: Request) -> JSONResponse:
    """Whether the model answers; the same as `/v2/health/ready`."""
    _check_version(request)
    return _state(services_of(request), ENSEMBLE)


@router.get(_VERSION, openapi_extra=NEEDS_KEY, include_in_schema=False)
@router.get(_MODEL, responses={200: {"model": schema.ModelMetadata}, **_KEYED}, openapi_extra=NEEDS_KEY)
async def kserve_model(request: Request) -> JSONResponse:
    """The model's tensors."""
    _check_version(request)
    return JSONResponse(schema.model_metadata())


@router.get(f"{_VERSION}/config", openapi_extra=NEEDS_KEY, include_in_schema=False)
@router.get(f"{_MODEL}/config", responses={200: {"model": schema.ModelConfig}, **_KEYED}, openapi_extra=NEEDS_KEY)
async def kserve_config(request: Request) -> JSONResponse:
    """The model's configuration: the part of Triton's that clients read."""
    _check_version(request)
    return JSONResponse(schema.model_config(services_of(request).settings.max_batch_files))


@router.post(f"{_VERSION}/infer", openapi_extra=NEEDS_KEY, include_in_schema=False)
@router.post(f"{_MODEL}/infer", responses={200: _ANSWER, **_REFUSALS}, openapi_extra=_BODY)
async def kserve_infer(request: Request) -> Response:
    """Score one photo or several, as Triton's clients ask: JSON, JSON with binary data behind it, or the file itself.

    A request is answered as a whole: a photo that cannot be scored refuses it, and `error` names the photo.
    """
    _check_version(request)
    services = services_of(request)
    await services.scorer.admit()
    async with _question(services, request) as question:
        count = len(question.photos)
        services.rate.take(request.state.key, count, charged=CHARGED)
        request_id = question.id if own_id(question.id.encode()) == question.id else request.state.request_id
        ids = [request_id] if count == 1 else [f"{request_id}#{place}" for place in range(count)]
        answers = await services.assess_together(dict(zip(ids, question.photos, strict=True)))
    body, head = write_answer(question, [each.scored.detection for each in _all(services, answers)], request_id)
    if head is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={LENGTH_HEADER: str(head)})


@asynccontextmanager
async def _question(services: Services, request: Request) -> AsyncIterator[Question]:
    text = request.headers.get(LENGTH_HEADER)
    head = None if text is None else bytes_in(LENGTH_HEADER, text)
    if head == 0:
        async with services.uploads.single(request) as file:
            yield one_photo(file.content)
        return
    most = min(services.settings.max_batch_files, MAX_BATCH_SIZE)
    limit = services.settings.max_batch_bytes
    async with services.uploads.whole(request, min(limit, JSON_BYTES) if head is None else limit) as body:
        yield read_question(body, head, most)


def _all(services: Services, answers: list[Assessment | VeriphotoError]) -> list[Assessment]:
    """Returns the answers, or raises the first error: a photo's own before the service's."""
    errors = [(place, answer) for place, answer in enumerate(answers) if isinstance(answer, VeriphotoError)]
    errors.sort(key=lambda each: not isinstance(each[1], ImageError))
    for _, error in errors[1:]:  # the first is counted as it is answered
        services.metrics.refused(error.code)
    for place, error in errors:
        if isinstance(error, ImageError) and len(answers) > 1:
            raise type(error)(f"{IMAGE}[{place}]: {error.message}") from error
        raise error
    return [answer for answer in answers if isinstance(answer, Assessment)]


def _check_version(request: Request) -> None:
    if request.path_params.get("version", schema.VERSION) != schema.VERSION:
        raise NotFoundError(f"{ENSEMBLE} has no such version; leave the version out")


def _state(services: Services, name: str) -> JSONResponse:
    ready = services.watchdog.state == "ok" and not services.draining
    return JSONResponse({"name": name, "ready": ready}, 200 if ready else 503)
