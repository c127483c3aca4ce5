"""Reads a request's body under limits: size, time, memory of all bodies together. Nothing touches the disk.

Starlette's own form parser would write uploads over 1 MB to a temporary file, and knows no limit for a whole body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
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
from veriphoto_serving.gateway.middleware.multipart import File, boundary_of, split

_MEGA: Final = 1_000_000
ENVELOPE_BYTES: Final = 64_000
"""What multipart may add around a file."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """Reads bodies. One for the whole gateway: it counts the memory that all of them take."""

    memory: Bound
    """Bytes of bodies."""
    timeout: float
    """Seconds in which a body must have arrived."""

    @asynccontextmanager
    async def single(self, request: Request) -> AsyncIterator[File]:
        """Reads one picture: multipart field ``file``, or the body itself.

        Args:
            request: The request.

        Yields:
            The file; its memory counts until the block ends.

        Raises:
            GatewayError: If the request cannot be read.
            FileTooLargeError: If the picture is too large.
        """
        boundary = boundary_of(request.headers.get("content-type", ""))
        limit = MAX_FILE_BYTES + (ENVELOPE_BYTES if boundary else 0)
        async with self._body(request, limit, FileTooLargeError) as body:
            if boundary is None:
                if not body:
                    raise BadRequestError("the body is empty; send a picture as the body or as the form field 'file'")
                yield File("", body)
            else:
                yield split(body, boundary, "file", most=1)[0]

    @asynccontextmanager
    async def batch(self, request: Request, most: int, limit: int) -> AsyncIterator[list[File]]:
        """Reads several pictures: multipart field ``files``.

        Args:
            request: The request.
            most: Files allowed.
            limit: Bytes allowed for all together.

        Yields:
            The files, in order.

        Raises:
            GatewayError: If the request cannot be read.
        """
        boundary = boundary_of(request.headers.get("content-type", ""))
        if boundary is None:
            raise BadRequestError("send multipart/form-data with the pictures as fields 'files'")
        async with self._body(request, limit, BodyTooLargeError) as body:
            yield split(body, boundary, "files", most=most)

    @asynccontextmanager
    async def whole(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """Reads a body that is no picture.

        Args:
            request: The request.
            limit: Bytes allowed.

        Yields:
            The body; its memory counts until the block ends.

        Raises:
            GatewayError: If the request cannot be read.
        """
        async with self._body(request, limit, BodyTooLargeError) as body:
            yield body

    @asynccontextmanager
    async def _body(
        self, request: Request, limit: int, too_large: type[FileTooLargeError | BodyTooLargeError]
    ) -> AsyncIterator[bytes]:
        message = f"the upload has more than the {limit / _MEGA:.3g} MB allowed; send less, or a smaller copy"
        if _length(request.headers) > limit:
            raise too_large(message)
        self.memory.check()
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.timeout):
                async for chunk in request.stream():
                    size += len(chunk)
                    self.memory.taken += len(chunk)
                    chunks.append(chunk)
                    if size > limit:
                        raise too_large(message)
                    if self.memory.taken > self.memory.places:
                        raise BusyError("too many uploads at a time; try again in a moment")
            yield b"".join(chunks)
        except TimeoutError as error:
            raise UploadTimeoutError(f"the upload took more than {self.timeout:g} s; send a smaller copy") from error
        except ClientDisconnect as error:
            raise BadRequestError("the connection ended before the upload did") from error
        finally:
            self.memory.taken -= size


def _length(headers: Mapping[str, str]) -> int:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise EncodingError("the body is compressed; send the picture as it is, without Content-Encoding")
    if "transfer-encoding" in headers:
        raise LengthRequiredError("the body comes in chunks; send it with a Content-Length")
    text = headers.get("content-length", "0")
    if not text.isdecimal():
        raise BadRequestError("Content-Length is no number")
    return int(text)
