"""Walks the chunks of a WebP.

The clean stream holds the canvas, the first frame and what it needs. Sizes come from the canvas; libwebp holds the
coded picture to it.
"""

from __future__ import annotations

import struct
from typing import Final

from veriphoto.errors import CorruptImageError, ImageError, TruncatedImageError
from veriphoto.headers.header import SAVE_AGAIN, Budget, Header
from veriphoto.headers.orientation import chosen, from_exif, from_xmp

_METADATA_FLAGS: Final = 0x20 | 0x08 | 0x04  # ICC, EXIF, XMP
_PICTURES: Final = (b"VP8 ", b"VP8L", b"ANMF")

# CPU time at its worst, fitted on the largest files of every kind (docs/robustness.md).
_A_PIXEL: Final = {b"VP8 ": 16e-9, b"VP8L": 12e-9, b"ANMF": 16e-9}
_A_CLEAR_PIXEL: Final = 14e-9  # more, to put it on white
_A_BYTE: Final = {b"VP8 ": 45e-9, b"VP8L": 32e-9, b"ANMF": 45e-9}
_PIXEL_BYTES: Final = 17
"""libwebp holds two canvases, Pillow a copy of one and the picture."""
_CLEAR_PIXEL_BYTES: Final = 21
"""The same and the picture on white."""


def read(data: bytes) -> Header:
    """Reads a WebP's header.

    Args:
        data: The file's bytes, which begin as RIFF and WEBP.

    Returns:
        What it says.

    Raises:
        ImageError: If it cannot be decoded, or not in reasonable time.
    """
    view, budget, at = memoryview(data), Budget(), 12
    keep: list[bytes | memoryview] = []
    extended = clear = False
    size: tuple[int, int] | None = None
    exif = xmp = None
    picture, coded = b"", 0
    while at + 8 <= len(data):
        budget.spend()
        kind, length = bytes(view[at : at + 4]), int.from_bytes(view[at + 4 : at + 8], "little")
        body = view[at + 8 : at + 8 + length]
        if len(body) < length and not picture:
            raise _cut()
        if kind in _PICTURES and not picture:
            size, picture, coded = size or _size(kind, body), kind, coded + length
            clear = clear or (kind == b"VP8L" and len(body) > 4 and bool(body[4] & 0x10))
            keep += _chunk(kind, body)
            if not extended:
                break
        elif kind == b"VP8X" and not keep and length >= 10:
            size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
            keep += _chunk(kind, bytes([body[0] & ~_METADATA_FLAGS]) + bytes(body[1:10]))
            extended, clear = True, bool(body[0] & 0x10)
        elif kind in (b"ANIM", b"ALPH") and not picture:
            keep += _chunk(kind, body)
            coded += length
        elif kind == b"EXIF":
            exif = from_exif(bytes(body))
        elif kind == b"XMP ":
            xmp = from_xmp(bytes(body))
        at += 8 + length + length % 2
    if not picture or size is None:
        raise _cut()
    width, height = size
    orientation = chosen(exif, xmp)
    return Header(
        format="webp",
        width=width,
        height=height,
        clean=b"".join([b"RIFF", struct.pack("<I", 4 + sum(map(len, keep))), b"WEBP", *keep]),
        orientation=orientation,
        seconds=width * height * (_A_PIXEL[picture] + (_A_CLEAR_PIXEL if clear else 0)) + coded * _A_BYTE[picture],
        pixel_bytes=_CLEAR_PIXEL_BYTES if clear else _PIXEL_BYTES,
    )


def _size(kind: bytes, body: memoryview) -> tuple[int, int]:
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10 and bytes(body[3:6]) == b"\x9d\x01\x2a":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise CorruptImageError(f"the picture's size is missing; {SAVE_AGAIN}")


def _chunk(kind: bytes, body: bytes | memoryview) -> list[bytes | memoryview]:
    return [kind, len(body).to_bytes(4, "little"), body, bytes(len(body) % 2)]


def _cut() -> ImageError:
    return TruncatedImageError("the file ends or breaks inside its header; send the whole file")
