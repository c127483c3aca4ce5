"""The route that takes the truth about a picture from those who found it out."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from veriphoto_serving.gateway.errors import BadRequestError, ForbiddenError
from veriphoto_serving.gateway.models import ErrorAnswer, FeedbackAnswer, FeedbackRequest
from veriphoto_serving.gateway.routes.predict import NEEDS_KEY
from veriphoto_serving.gateway.services import services_of

_REFUSALS: Final = {
    400: "The body is no feedback.",
    401: "The API key is missing or wrong.",
    403: "The API key may not send feedback.",
    408: "The body took too long.",
    411: "The body has no Content-Length.",
    413: "The body is too large.",
    415: "The body is compressed.",
    429: "More requests than the key may send; see Retry-After.",
    503: "The review database is away or busy; see Retry-After.",
}
_MOST_BYTES: Final = 32_000
PATH: Final = "/feedback"

router: Final = APIRouter(
    tags=["feedback"],
    responses={status: {"model": ErrorAnswer, "description": text} for status, text in _REFUSALS.items()},
)
_BODY: Final[dict[str, Any]] = {
    **NEEDS_KEY,
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/FeedbackRequest"}}},
    },
}


@router.post(PATH, responses={200: {"model": FeedbackAnswer}}, openapi_extra=_BODY)
async def feedback(request: Request) -> JSONResponse:
    """Tell what a picture really is. The same truth twice changes nothing; what a reviewer has decided stays."""
    services = services_of(request)
    key: str = request.state.key
    if key not in services.feedback_from:
        raise ForbiddenError("this API key may not send feedback; name it in --feedback-keys")
    async with services.uploads.whole(request, _MOST_BYTES) as body:
        try:
            told = FeedbackRequest.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise BadRequestError(f"the body is no feedback: {where + ': ' if where else ''}{first['msg']}") from error
    kind, value = told.subject
    receipt = await services.take_feedback(kind, value, told.truth, told.note, key)
    return JSONResponse({"status": receipt.status, "cases": receipt.cases, "request_id": request.state.request_id})
