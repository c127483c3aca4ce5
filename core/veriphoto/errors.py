"""Every error that Veriphoto raises on purpose.

::

    VeriphotoError                     veriphoto_error
    +-- ImageError                     image_error            the caller's picture; nothing else is lost
    |   +-- NotAnImageError            not_an_image
    |   +-- UnsupportedFormatError     unsupported_format
    |   +-- TruncatedImageError        truncated_image
    |   +-- CorruptImageError          corrupt_image
    |   +-- FileTooLargeError          file_too_large
    |   +-- TooManyPixelsError         too_many_pixels
    |   +-- SideTooLongError           side_too_long
    |   +-- DecompressionBombError     decompression_bomb
    |   +-- TooCostlyError             too_costly
    |   +-- UnreadableFileError        unreadable_file        the file could not be read from the disk
    +-- ModelError                     model_error            a model version that must not be used
    |   +-- ManifestError              manifest_invalid
    |   +-- ContractMismatchError      contract_mismatch
    |   +-- ChecksumError              checksum_mismatch
    |   +-- ParityError                parity_failed
    +-- ServiceError                   service_error          the server, seen from a client
    |   +-- ServiceUnavailableError    service_unavailable
    |   +-- OverloadedError            overloaded
    |   +-- DeadlineExceededError      deadline_exceeded
    |   +-- InvalidRequestError        invalid_request        the server refused the request itself, not the picture
    +-- StartupError                   startup_failed         the machine cannot run the server as it is
    +-- DataError                      data_invalid           a data set that cannot be trained on or evaluated
    +-- DatabaseError                  database_error         the review database
    |   +-- DatabaseUnavailableError   database_unavailable   away, not one of ours, or not to be written
    |   +-- DatabaseBusyError          database_busy          another process holds it; try again
    |   +-- DatabaseFullError          database_full          its disk has no room
    |   +-- DatabaseSchemaError        database_schema        of another release
    +-- UsageError                     usage_error            options that do not fit together
        +-- MissingExtraError          missing_extra

Codes are stable: programs may compare them. This module knows nothing of HTTP or Triton; ``ImageError.to_wire`` and
``from_wire`` carry an error as one line of text through whatever lies between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from veriphoto.visible import visible


class VeriphotoError(Exception):
    """Base of the tree. The message says what is wrong and what to do about it."""

    code: ClassVar[str] = "veriphoto_error"

    @property
    def message(self) -> str:
        """The human part, without the code."""
        return str(self)

    def to_wire(self) -> str:
        """Returns ``[code] message`` on one line and safe to print, for transports that carry only text."""
        return f"[{self.code}] {visible(' '.join(self.message.split()))}"


class ImageError(VeriphotoError):
    """The picture cannot be scored."""

    code = "image_error"


class NotAnImageError(ImageError):
    """The bytes are no picture at all."""

    code = "not_an_image"


class UnsupportedFormatError(ImageError):
    """A picture, or at least a known file format, but none of ``contract.FORMATS``, or a rare kind of one."""

    code = "unsupported_format"


class TruncatedImageError(ImageError):
    """The file ends before the picture does."""

    code = "truncated_image"


class CorruptImageError(ImageError):
    """The file starts as a picture and cannot be decoded."""

    code = "corrupt_image"


class FileTooLargeError(ImageError):
    """More bytes than ``contract.MAX_FILE_BYTES``."""

    code = "file_too_large"


class TooManyPixelsError(ImageError):
    """More pixels than ``contract.MAX_PIXELS``."""

    code = "too_many_pixels"


class SideTooLongError(ImageError):
    """A side longer than ``contract.MAX_SIDE``."""

    code = "side_too_long"


class DecompressionBombError(ImageError):
    """Pillow warned of a decompression bomb."""

    code = "decompression_bomb"


class TooCostlyError(ImageError):
    """Decoding would take time or memory out of proportion to the picture."""

    code = "too_costly"


class UnreadableFileError(ImageError):
    """The file could not be read from the disk."""

    code = "unreadable_file"


class ModelError(VeriphotoError):
    """A model version must not be used."""

    code = "model_error"


class ManifestError(ModelError):
    """A manifest is missing, is not JSON, or lacks or misstates a field."""

    code = "manifest_invalid"


class ContractMismatchError(ModelError):
    """A manifest was written for another contract than the code's."""

    code = "contract_mismatch"


class ChecksumError(ModelError):
    """A model file is not the one its manifest describes."""

    code = "checksum_mismatch"


class ParityError(ModelError):
    """An exported graph does not score as the network it came from."""

    code = "parity_failed"


class ServiceError(VeriphotoError):
    """The server failed, seen from a client."""

    code = "service_error"


class ServiceUnavailableError(ServiceError):
    """Nothing answers, or what answers is not ready."""

    code = "service_unavailable"


class OverloadedError(ServiceError):
    """The server refuses for now; try again later."""

    code = "overloaded"


class DeadlineExceededError(ServiceError):
    """No answer within the time allowed."""

    code = "deadline_exceeded"


class InvalidRequestError(ServiceError):
    """The server understood the request and refused it."""

    code = "invalid_request"


class StartupError(VeriphotoError):
    """The machine cannot run the server as it is."""

    code = "startup_failed"


class DataError(VeriphotoError):
    """A data set cannot be used."""

    code = "data_invalid"


class DatabaseError(VeriphotoError):
    """The review database refuses; what was being written is not in it."""

    code = "database_error"


class DatabaseUnavailableError(DatabaseError):
    """Away, not a database of ours, or not to be written."""

    code = "database_unavailable"


class DatabaseBusyError(DatabaseError):
    """Another process has held it for longer than we wait."""

    code = "database_busy"


class DatabaseFullError(DatabaseError):
    """Its disk has no room."""

    code = "database_full"


class DatabaseSchemaError(DatabaseError):
    """Its tables are those of another release."""

    code = "database_schema"


class UsageError(VeriphotoError):
    """Options that do not fit together."""

    code = "usage_error"


class MissingExtraError(UsageError):
    """A part of Veriphoto is used whose packages are not installed."""

    code = "missing_extra"

    def __init__(self, extra: str, missing: str | None = None) -> None:
        """Names the extra to install.

        Args:
            extra: The name of the extra in ``pyproject.toml``.
            missing: The module that could not be imported, where known.
        """
        why = f"'{missing}' is not installed" if missing else "packages are missing"
        super().__init__(f"{why}; in the project's folder run: {install_command(extra)}")


def install_command(extra: str) -> str:
    """Returns what installs an extra from a checkout: the project's name on the package index is not ours."""
    return f".venv/bin/pip install -e '.[{extra}]'"


_WIRE: Final = re.compile(r"\[(?P<code>[a-z_]+)\] (?P<message>.*)", re.DOTALL)


def _tree(root: type[VeriphotoError]) -> Iterator[type[VeriphotoError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def from_wire(text: str) -> ImageError | None:
    """Finds the picture's error in a text made by ``to_wire``.

    Args:
        text: A server's error text; anything may stand before the code (Triton's ensemble puts its own name there).

    Returns:
        The error, or None where the text holds no code of an ``ImageError``.
    """
    found = _WIRE.search(text)
    if found is None:
        return None
    for kind in _tree(ImageError):
        if kind.code == found["code"]:
            error = kind(found["message"])
            return error if isinstance(error, ImageError) else None
    return None
