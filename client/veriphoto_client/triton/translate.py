"""Translates the errors of tritonclient and its HTTP libraries into Veriphoto's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tritonclient.utils import InferenceServerException

from veriphoto.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    ServiceUnavailableError,
    VeriphotoError,
    from_wire,
)

# tritonclient reports statuses as numbers over HTTP and as names over gRPC. All others become a plain ServiceError.
_KINDS: Final[Mapping[str, type[ServiceError]]] = MappingProxyType(
    {
        **dict.fromkeys(("400", "401", "403", "405", "411", "413", "415", "501"), InvalidRequestError),
        **dict.fromkeys(("404", "502", "503"), ServiceUnavailableError),  # 404: Triton runs, without the detector
        **dict.fromkeys(("408", "504"), DeadlineExceededError),
        "429": OverloadedError,
        **dict.fromkeys(("INVALID_ARGUMENT", "UNIMPLEMENTED", "PERMISSION_DENIED"), InvalidRequestError),
        **dict.fromkeys(("UNAUTHENTICATED", "OUT_OF_RANGE", "FAILED_PRECONDITION"), InvalidRequestError),
        **dict.fromkeys(("NOT_FOUND", "UNAVAILABLE"), ServiceUnavailableError),
        "DEADLINE_EXCEEDED": DeadlineExceededError,
        "RESOURCE_EXHAUSTED": OverloadedError,
    }
)
# Triton's messages for a full queue and for a timeout in one; the status is only "unavailable".
_OVERLOAD: Final = ("exceeds maximum queue size", "request timeout expired")
# A Python model whose process died: status 500, and Triton goes on calling itself ready.
_DEAD_STUB: Final = "stub process"

_ADVICE: Final[Mapping[type[ServiceError], str]] = MappingProxyType(
    {
        ServiceUnavailableError: "is it running, with its models loaded? Start one with: veriphoto serve",
        OverloadedError: "try again in a moment, or keep fewer requests in flight",
        InvalidRequestError: "check that this is the address of Veriphoto, and use client and server of one version",
        ServiceError: "see the server's log",
    }
)


def translate(error: Exception, url: str, timeout: float) -> VeriphotoError:
    """Returns the Veriphoto error that a failed request stands for. Raise it ``from`` the original.

    Args:
        error: The error that tritonclient or the HTTP library raised.
        url: The server's address, for the message.
        timeout: The request's limit in seconds, for the message.

    Returns:
        The photo's ``ImageError`` if the server named one, otherwise a ``ServiceError``.
    """
    if isinstance(error, TimeoutError):
        return _late(url, timeout)
    if not isinstance(error, InferenceServerException):
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return _service(ServiceUnavailableError, url, str(reason))
    text = error.message() or ""
    kind = _kind(error.status() or "", text)
    if kind is DeadlineExceededError:
        return _late(url, timeout)
    picture = from_wire(text) if kind is InvalidRequestError else None
    return picture or _service(kind, url, text)


def _kind(status: str, text: str) -> type[ServiceError]:
    lowered = text.lower()
    kind = _KINDS.get(status.removeprefix("StatusCode."), ServiceError)
    if kind is ServiceUnavailableError and any(words in lowered for words in _OVERLOAD):
        return OverloadedError
    if kind is ServiceError and _DEAD_STUB in lowered:
        return ServiceUnavailableError
    return kind


def _service(kind: type[ServiceError], url: str, text: str) -> ServiceError:
    said = text.strip().splitlines()[0] if text.strip() else "no reason given"  # the other lines are a stack trace
    return kind(f"{url}: {said}; {_ADVICE[kind]}")


def _late(url: str, timeout: float) -> DeadlineExceededError:
    return DeadlineExceededError(f"{url} did not answer within {timeout:g} s; allow more time or send a smaller copy")
