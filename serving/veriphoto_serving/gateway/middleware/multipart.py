"""Extracts files from a multipart body while it arrives, so that it is in memory only once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto_serving.gateway.errors import BadRequestError, MissingFileError, TooManyFilesError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_LONGEST_NAME: Final = 255
_LONGEST_TEXT: Final = 4096
_OTHER_FIELDS: Final = 20
"""Fields besides the files that a form may have; forms of browsers often have a few."""


@dataclass(frozen=True, slots=True)
class File:
    """One uploaded file."""

    name: str
    """The client's name for it; used in the answer, never logged."""
    content: bytes = field(repr=False)
    too_large: bool = False
    """Whether it exceeds the size limit; its content is then empty."""
    text: bool = False
    """Whether it is no file but text in the field: a path, most likely."""


def boundary_of(content_type: str) -> bytes | None:
    """Finds the boundary in a Content-Type.

    Args:
        content_type: The header's value.

    Returns:
        The boundary, or None if the body is not a form.

    Raises:
        BadRequestError: If it is a form without a boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadRequestError("multipart/form-data without a boundary; let your HTTP library set the Content-Type")
    return boundary


class Splitter:
    """Splits a multipart body into its files, chunk by chunk."""

    def __init__(self, boundary: bytes, wanted: str, most: int) -> None:
        """Starts a parser.

        Args:
            boundary: The separator between the parts.
            wanted: Name of the form field that holds files; others are ignored.
            most: Maximum number of files.

        Raises:
            BadRequestError: If the boundary is invalid.
        """
        self._wanted = wanted
        self._collector = _Collector(wanted, most)
        with _readable():
            self._parser = MultipartParser(boundary, self._collector.callbacks())

    def feed(self, piece: bytes) -> None:
        """Parses the next chunk of the body.

        Raises:
            BadRequestError: If the body is malformed.
            TooManyFilesError: If there are too many files.
        """
        with _readable():
            self._parser.write(piece)

    def files(self) -> list[File]:
        """Returns the files, one or more, in order, once the body has ended.

        Raises:
            BadRequestError: If the body is malformed.
            MissingFileError: If there is no file in the wanted field, or nothing but text.
        """
        with _readable():
            self._parser.finalize()
        if not self._collector.ended:
            raise BadRequestError("the multipart body ends before its closing boundary")
        if not self._collector.files:
            raise MissingFileError(f"there is no picture in the form; send it as the field {self._wanted!r}")
        if all(file.text for file in self._collector.files):
            field = self._wanted
            raise MissingFileError(f"the field {field!r} holds text, not a file; with curl write -F {field}=@PATH")
        return self._collector.files


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise BadRequestError("the multipart body cannot be read; let your HTTP library build it") from error


class _Collector:
    """Receives the parser's callbacks."""

    def __init__(self, wanted: str, most: int) -> None:
        self.files: list[File] = []
        self.ended = False
        self._wanted = wanted.encode()
        self._most = most
        self._parts = 0
        self._name: str | None = None
        self._named = False
        self._content = bytearray()
        self._too_large = False
        self._field = b""
        self._value = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._most + _OTHER_FIELDS:
            raise BadRequestError("the form has too many fields")
        self._name, self._content, self._too_large = None, bytearray(), False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if options.get(b"name") == self._wanted:
                self._named = b"filename" in options
                self._name = options.get(b"filename", b"").decode(errors="replace")[:_LONGEST_NAME]
                if len(self.files) == self._most:
                    more = "one file" if self._most == 1 else f"{self._most} files"
                    raise TooManyFilesError(f"send {more} a request")
        self._field = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is None or self._too_large:
            return
        if len(self._content) + end - start > MAX_FILE_BYTES:
            self._content, self._too_large = bytearray(), True
            return
        self._content += memoryview(data)[start:end]

    def _part_end(self) -> None:
        if self._name is None:
            return
        content, self._content = bytes(self._content), bytearray()
        text = not self._named and not self._too_large and _is_text(content)
        self.files.append(File(self._name, content, self._too_large, text))

    def _end(self) -> None:
        self.ended = True


def _is_text(content: bytes) -> bool:
    """Tells a path from a picture that came without a name: no format that is read is text without a zero."""
    if len(content) > _LONGEST_TEXT or b"\0" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
