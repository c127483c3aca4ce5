"""What a header says, and what all formats share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from veriphoto.errors import TooCostlyError, UnsupportedFormatError

ACCEPTED: Final = "JPEG, PNG, WebP, HEIC or AVIF"
"""The accepted formats, as messages name them."""

MAX_PARTS: Final = 20_000
"""Segments, chunks or boxes of one file: libpng's 8 kB a chunk make 2,500 for 20 MB, cameras write some hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file's structure says of its picture."""

    format: str
    """One of ``contract.FORMATS``."""
    width: int
    """As stored, in pixels."""
    height: int
    clean: bytes
    """What the decoder is given."""
    orientation: int = 1
    """EXIF's 1..8: how the stored picture is to be turned. 1 where the decoder turns it itself."""
    seconds: float
    """CPU time of decoding, estimated high (``docs/robustness.md`` has the measurements)."""
    pixel_bytes: float
    """Memory of decoding at its peak, in bytes a pixel, beside the file itself."""
    colour_key: tuple[int, ...] | None = None
    """The stored value, one number a channel, that a PNG declares transparent."""
    depth: int = 8
    """Bits a channel."""
    complete: bool = True
    """Whether the file has the end mark of its pixels; without it the decoder must tell if pixels are missing."""


class Budget:
    """Counts the parts of one file and stops a walk that would take too long."""

    def __init__(self, parts: int = MAX_PARTS) -> None:
        self._left = parts
        self._parts = parts

    def spend(self, parts: int = 1) -> None:
        """Counts parts.

        Raises:
            TooCostlyError: If they are too many.
        """
        self._left -= parts
        if self._left < 0:
            raise TooCostlyError(
                f"the file has more than {self._parts:,} segments or chunks, far more than a photo; {SAVE_AGAIN}"
            )


SAVE_AGAIN: Final = "save it again and send that copy"


def unsupported(what: str) -> UnsupportedFormatError:
    """Returns the refusal of a kind of file that is sound but not read.

    Args:
        what: Its name, behind "this is".
    """
    return UnsupportedFormatError(f"this is {what}, which is not supported; send {ACCEPTED}")
