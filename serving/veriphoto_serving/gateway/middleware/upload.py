"""Reads request bodies within limits for size, time, and the memory of all bodies together. Nothing touches the disk.

Starlette's form parser would write uploads over 1 MB to a temporary file and has no limit for a whole body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from starlette.requests import ClientDisconnect, Request

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto.errors import FileTooLargeError
from veriphoto_serving.gateway.errors import (
    BadRequestError,
    BodyTooLargeError,
    BusyError,
    EncodingError,
    LengthRequiredError,
    UploadTimeoutError,
)
from veriphoto_serving.gateway.middleware.admission import Bound
from veriphoto_serving.gateway.middleware.multipart import File, Splitter, boundary_of

_MEGA: Final = 1_000_000
_JSON_START: Final = 64
_MOST_DIGITS: Final = 18
"""More than any number of bytes has; Python refuses to read thousands of them."""
FORM_BYTES: Final = 64_000
"""Bytes that a form may have besides its file."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """Reads bodies; one instance per gateway, as it counts the memory of all of them."""

    memory: Bound
    """Limits the bytes of all bodies."""
    timeout: float
    """Seconds for a body to arrive."""

    @asynccontextmanager
    async def single(self, request: Request) -> AsyncIterator[File]:
        """Reads one picture: multipart field ``file``, or the body itself.

        Args:
            request: The request.

        Yields:
            The file; its memory is counted until the block ends.

        Raises:
            GatewayError: If the request cannot be read.
            FileTooLargeError: If the picture is too large.
        """
        boundary = boundary_of(request.headers.get("content-type", ""))
        limit = MAX_FILE_BYTES + (FORM_BYTES if boundary else 0)
        if boundary is not None:
            form = Splitter(boundary, "file", most=1)
            async with self._body(request, limit, FileTooLargeError, form.feed):
                file = form.files()[0]
                if file.too_large:
                    raise FileTooLargeError(_too_large(MAX_FILE_BYTES))
                del form
                yield file
            return
        body = bytearray()
        async with self._body(request, limit, FileTooLargeError, body.extend):
            if not body:
                raise BadRequestError("the body is empty; send a picture as the body or as the form field 'file'")
            if _is_json(body):
                raise BadRequestError("the body is JSON; send the photo itself, or the form field 'file'")
            file = File("", bytes(body))
            body.clear()
            yield file

    @asynccontextmanager
    async def batch(self, request: Request, most: int, limit: int) -> AsyncIterator[list[File]]:
        """Reads several pictures: multipart field ``files``.

        Args:
            request: The request.
            most: Maximum number of files.
            limit: Maximum bytes of the whole body.

        Yields:
            The files, in order.

        Raises:
            GatewayError: If the request cannot be read.
        """
        boundary = boundary_of(request.headers.get("content-type", ""))
        if boundary is None:
            raise BadRequestError("send multipart/form-data with the pictures as fields 'files'")
        form = Splitter(boundary, "files", most=most)
        async with self._body(request, limit, BodyTooLargeError, form.feed):
            yield form.files()

    @asynccontextmanager
    async def whole(self, request: Request, limit: int) -> AsyncIterator[bytearray]:
        """Reads a body that is no picture by itself.

        Args:
            request: The request.
            limit: Bytes allowed.

        Yields:
            The body; its memory is counted until the block ends.

        Raises:
            GatewayError: If the request cannot be read.
        """
        body = bytearray()
        async with self._body(request, limit, BodyTooLargeError, body.extend):
            yield body

    @asynccontextmanager
    async def _body(
        self,
        request: Request,
        limit: int,
        too_large: type[FileTooLargeError | BodyTooLargeError],
        take: Callable[[bytes], None],
    ) -> AsyncIterator[None]:
        """Reads a body chunk by chunk; its memory is counted until the block ends."""
        limit = min(limit, self.memory.places)  # a larger body would never fit, so say that it is too large
        announced = _length(request.headers)
        told = min(limit, MAX_FILE_BYTES) if too_large is FileTooLargeError else limit
        if announced > limit:
            raise too_large(_too_large(told))
        self.memory.check(max(1, announced))
        size = 0
        try:
            try:
                async with asyncio.timeout(self.timeout):
                    async for chunk in request.stream():
                        size += len(chunk)
                        self.memory.taken += len(chunk)
                        if size > limit:
                            raise too_large(_too_large(told))
                        if self.memory.taken > self.memory.places:
                            raise BusyError("too many uploads at a time; try again in a moment")
                        take(chunk)
            except TimeoutError as error:
                late = f"the upload took more than {self.timeout:g} s; send a smaller copy"
                raise UploadTimeoutError(late) from error
            except ClientDisconnect as error:
                raise BadRequestError("the connection ended before the upload did") from error
            yield  # what the block raises is no fault of the upload's
        finally:
            self.memory.taken -= size


def _is_json(body: bytearray) -> bool:
    """Tells by the first bytes, which are those of no picture: callers often set a wrong Content-Type."""
    return body[:_JSON_START].lstrip().startswith((b"{", b"["))


def _too_large(limit: int) -> str:
    return f"the upload has more than the {limit / _MEGA:.3g} MB allowed; send less, or a smaller copy"


def _length(headers: Mapping[str, str]) -> int:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise EncodingError("the body is compressed; send the picture as it is, without Content-Encoding")
    if "transfer-encoding" in headers:
        raise LengthRequiredError("the body comes in chunks; send it with a Content-Length")
    return bytes_in("Content-Length", headers.get("content-length", "0"))


def bytes_in(header: str, text: str) -> int:
    """Reads a header that counts bytes.

    Args:
        header: Its name.
        text: What it says.

    Raises:
        BadRequestError: If that is no number of bytes.
    """
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise BadRequestError(f"{header} is not a number")
    return int(text)
