"""The routes that score pictures."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto.errors import FileTooLargeError, ServiceError, VeriphotoError
from veriphoto_serving.gateway.errors import detail_of
from veriphoto_serving.gateway.middleware.multipart import File
from veriphoto_serving.gateway.middleware.request import CHARGED
from veriphoto_serving.gateway.models import BatchAnswer, ErrorAnswer, ExplainAnswer, PredictAnswer
from veriphoto_serving.gateway.services import Assessment, Services, services_of

_REFUSALS: Final = {
    400: "The request cannot be read, or holds no picture or too many.",
    401: "The API key is missing or wrong.",
    408: "The upload took too long.",
    411: "The body has no Content-Length.",
    413: "Too many bytes or pixels.",
    415: "Not JPEG, PNG, WebP, HEIC or AVIF, or a compressed body.",
    422: "Not a readable picture.",
    429: "More pictures than the key may send; see Retry-After.",
    503: "Overloaded, or the scoring server is away; see Retry-After.",
    504: "Not scored in time.",
}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _REFUSALS.items()
}
NEEDS_KEY: Final[dict[str, Any]] = {"security": [{"ApiKey": []}]}
_BINARY: Final = {"type": "string", "format": "binary"}


FORMS: Final[dict[str, dict[str, Any]]] = {
    "PhotoForm": {"type": "object", "required": ["file"], "properties": {"file": _BINARY}},
    "PhotosForm": {
        "type": "object",
        "required": ["files"],
        "properties": {"files": {"type": "array", "items": _BINARY, "minItems": 1}},
    },
}
"""Schemas of the forms, by name."""
_ONE: Final[dict[str, Any]] = {
    **NEEDS_KEY,
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"$ref": "#/components/schemas/PhotoForm"}},
            # Whatever the content type says; code generators know this one.
            "application/octet-stream": {"schema": _BINARY},
        },
    },
}
_MANY: Final[dict[str, Any]] = {
    **NEEDS_KEY,
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/PhotosForm"}}},
    },
}

router: Final = APIRouter(tags=["predict"], responses=RESPONSES)


@router.post("/predict", responses={200: {"model": PredictAnswer}}, openapi_extra=_ONE)
async def predict(request: Request) -> JSONResponse:
    """Score one picture: the form field `file`, or the picture itself as the body."""
    services = services_of(request)
    await services.scorer.admit()
    async with services.uploads.single(request) as file:
        assessment = await services.assess(file.content, request.state.request_id)
    return JSONResponse({**assessment.to_json(), "request_id": request.state.request_id})


@router.post("/predict/explain", responses={200: {"model": ExplainAnswer}}, openapi_extra=_ONE)
async def predict_explain(request: Request) -> JSONResponse:
    """Score one picture and show where in it the score comes from."""
    services = services_of(request)
    await services.scorer.admit()
    services.drawings.check()
    async with services.uploads.single(request) as file:
        deadline = asyncio.get_running_loop().time() + services.settings.request_timeout
        with services.drawings.take():
            assessment = await services.assess(file.content, request.state.request_id)
            explanation = await services.explain(file.content, assessment.scored.detection, deadline)
    return JSONResponse({**assessment.to_json(), **explanation.to_json(), "request_id": request.state.request_id})


@router.post("/predict/batch", responses={200: {"model": BatchAnswer}}, openapi_extra=_MANY)
async def predict_batch(request: Request) -> JSONResponse:
    """Score several pictures together: the form field `files`, repeated. A bad one costs only its own place."""
    services = services_of(request)
    await services.scorer.admit()
    started = asyncio.get_running_loop().time()
    async with services.uploads.batch(
        request, services.settings.max_batch_files, services.settings.max_batch_bytes
    ) as files:
        services.rate.take(request.state.key, len(files), charged=CHARGED)
        answers = await _judge_files(services, files, request.state.request_id)
    failures = [answer for answer in answers if isinstance(answer, VeriphotoError)]
    if len(failures) == len(answers) and all(isinstance(failure, ServiceError) for failure in failures):
        for failure in failures[1:]:  # the first is counted as it is answered
            services.metrics.refused(failure.code)
        raise failures[0]
    results = [_result(services, file, answer) for file, answer in zip(files, answers, strict=True)]
    elapsed = 1000.0 * (asyncio.get_running_loop().time() - started)
    return JSONResponse(
        {
            "results": results,
            "total": len(answers),
            "successful": len(answers) - len(failures),
            "failed": len(failures),
            "total_inference_time_ms": round(elapsed, 3),
            "model_version": max((r["model_version"] for r in results if "model_version" in r), default=None),
            "request_id": request.state.request_id,
        }
    )


async def _judge_files(services: Services, files: list[File], request_id: str) -> list[Assessment | VeriphotoError]:
    """Scores the files that may go to Triton at all; answers keep their order.

    In the prediction log each has the id of the request and its place in it.
    """
    fit = {f"{request_id}#{place}": file.content for place, file in enumerate(files) if not file.too_large}
    judged = iter(await services.assess_together(fit))
    too_large = FileTooLargeError(f"the file has more than {MAX_FILE_BYTES // 1_000_000} MB; send a smaller copy")
    return [too_large if file.too_large else next(judged) for file in files]


def _result(services: Services, file: File, answer: Assessment | VeriphotoError) -> dict[str, Any]:
    if isinstance(answer, VeriphotoError):
        services.metrics.refused(answer.code)
        return {"filename": file.name, "error": answer.code, "detail": detail_of(answer)}
    return {"filename": file.name, **answer.to_json()}
