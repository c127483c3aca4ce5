"""The routes that say what the service is."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter

from veriphoto import __version__
from veriphoto_serving.gateway.models import AboutAnswer, PrivacyAnswer

router: Final = APIRouter(tags=["about"])

_ABOUT: Final = {
    "name": "Veriphoto",
    "version": __version__,
    "what": "Tells whether a product photo was taken by a camera or made by an AI generator.",
    "documentation": "/docs",
    "routes": ["/predict", "/predict/batch", "/predict/explain", "/health", "/drift", "/metrics", "/privacy", "/v2"],
}
_PRIVACY: Final = {
    "pictures": "A picture is held in memory while it is scored, and nowhere else. It is never stored or passed on.",
    "file_names": "Names of files appear in the answer to the caller who sent them; they are never stored or logged.",
    "metadata": "Metadata is read for the answer (camera, C2PA, generator) and not kept; no prompt is repeated.",
    "log": "For drift, numbers of a picture are kept, such as score, size, format and brightness, under a request id.",
    "feedback": "A picture's truth that a caller tells, where it is taken, is kept with the case and the key's name.",
    "addresses": "Addresses of callers are not stored.",
    "keys": "Names of API keys appear in metrics; keys themselves are held as digests only.",
    "answer": "The answer is an estimate with a stated probability. Do not decide about a person by it alone.",
}


@router.get("/", responses={200: {"model": AboutAnswer}})
async def root() -> dict[str, Any]:
    """What this service is and where its routes are."""
    return _ABOUT


@router.get("/privacy", responses={200: {"model": PrivacyAnswer}})
async def privacy() -> dict[str, str]:
    """What happens to what you send."""
    return _PRIVACY
