"""What the gateway refuses by itself, and the one table that turns every error into a status.

::

    VeriphotoError
    +-- GatewayError
        +-- BadRequestError          bad_request               400
        +-- MissingFileError         missing_file              400
        +-- TooManyFilesError        too_many_files            400
        +-- UnauthorizedError        unauthorized              401
        +-- ForbiddenError           forbidden                 403
        +-- NotFoundError            not_found                 404
        +-- MethodNotAllowedError    method_not_allowed        405
        +-- UploadTimeoutError       upload_timeout            408
        +-- LengthRequiredError      length_required           411
        +-- BodyTooLargeError        body_too_large            413
        +-- EncodingError            encoding_not_supported    415
        +-- RateLimitedError         rate_limited              429
        +-- BusyError                overloaded                503

The errors of pictures and of Triton come from ``veriphoto.errors``; ``STATUS`` maps those too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from veriphoto import errors as core
from veriphoto.errors import VeriphotoError


class GatewayError(VeriphotoError):
    """The gateway refuses a request by itself."""

    code = "gateway_error"


class BadRequestError(GatewayError):
    """The request cannot be read."""

    code = "bad_request"


class MissingFileError(GatewayError):
    """There is no picture in the request."""

    code = "missing_file"


class TooManyFilesError(GatewayError):
    """More files than the route takes."""

    code = "too_many_files"


class UnauthorizedError(GatewayError):
    """The API key is missing or wrong."""

    code = "unauthorized"


class ForbiddenError(GatewayError):
    """The API key is known and may not do this."""

    code = "forbidden"


class NotFoundError(GatewayError):
    """There is no such route."""

    code = "not_found"


class MethodNotAllowedError(GatewayError):
    """The route knows other methods."""

    code = "method_not_allowed"


class UploadTimeoutError(GatewayError):
    """The body did not arrive in time."""

    code = "upload_timeout"


class LengthRequiredError(GatewayError):
    """The body has no Content-Length."""

    code = "length_required"


class BodyTooLargeError(GatewayError):
    """The body is larger than the route takes."""

    code = "body_too_large"


class EncodingError(GatewayError):
    """The body is compressed."""

    code = "encoding_not_supported"


class RateLimitedError(GatewayError):
    """The key has used up its rate."""

    code = "rate_limited"

    def __init__(self, message: str, wait: float) -> None:
        """Says how long to wait.

        Args:
            message: What is wrong.
            wait: Seconds until the request would be let in.
        """
        super().__init__(message)
        self.wait = wait


class BusyError(GatewayError):
    """All places are taken; refused at once instead of queued."""

    code = "overloaded"


STATUS: Final[Mapping[type[VeriphotoError], int]] = MappingProxyType(
    {
        BadRequestError: 400,
        MissingFileError: 400,
        TooManyFilesError: 400,
        UnauthorizedError: 401,
        ForbiddenError: 403,
        NotFoundError: 404,
        MethodNotAllowedError: 405,
        UploadTimeoutError: 408,
        LengthRequiredError: 411,
        BodyTooLargeError: 413,
        core.FileTooLargeError: 413,
        core.TooManyPixelsError: 413,
        core.SideTooLongError: 413,
        core.DecompressionBombError: 413,
        EncodingError: 415,
        core.UnsupportedFormatError: 415,
        core.NotAnImageError: 422,
        core.TruncatedImageError: 422,
        core.CorruptImageError: 422,
        core.ImageError: 422,
        core.TooCostlyError: 422,
        RateLimitedError: 429,
        BusyError: 503,
        core.OverloadedError: 503,
        core.ServiceUnavailableError: 503,
        core.ServiceError: 503,
        core.DatabaseError: 503,
        core.DeadlineExceededError: 504,
        VeriphotoError: 500,
    }
)
"""Status of every error that can reach a caller; an error that is not here has the row of its nearest base."""

# What Triton says of itself (addresses, model names) stays inside.
_OWN_WORDS: Final[Mapping[type[VeriphotoError], str]] = MappingProxyType(
    {
        core.OverloadedError: "the service has more to do than it can; try again in a moment",
        core.ServiceUnavailableError: "the scoring server is away; try again in a moment",
        core.DeadlineExceededError: "the picture was not scored in time; try again, or send a smaller copy",
        core.ServiceError: "the scoring server gave no usable answer; try again in a moment",
        core.DatabaseError: "the review database is away or busy; nothing was changed, send the same again in a moment",
        VeriphotoError: "internal error; the log of the gateway says more under this request_id",
    }
)
_RETRY_S: Final[Mapping[type[VeriphotoError], int]] = MappingProxyType(
    {BusyError: 1, core.OverloadedError: 1, core.ServiceError: 2, core.DatabaseError: 2}
)


def status_of(error: VeriphotoError) -> int:
    """Returns the status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def detail_of(error: VeriphotoError) -> str:
    """Returns what the caller may read: an error's own words, or the gateway's where those would tell of the inside."""
    if isinstance(error, GatewayError | core.ImageError):
        return error.message
    return next(_OWN_WORDS[kind] for kind in type(error).__mro__ if kind in _OWN_WORDS)


def retry_after(error: VeriphotoError) -> int | None:
    """Returns the value of ``Retry-After`` in whole seconds, or None where a retry would change nothing."""
    if isinstance(error, RateLimitedError):
        return max(1, round(error.wait + 0.5))
    if isinstance(error, core.DeadlineExceededError):
        return None
    return next((_RETRY_S[kind] for kind in type(error).__mro__ if kind in _RETRY_S), None)
