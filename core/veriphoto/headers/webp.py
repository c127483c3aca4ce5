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
_A_PIXEL: Final = 20e-9
_A_BYTE: Final = 25e-9
PIXEL_BYTES: Final = 16
"""libwebp holds two canvases, Pillow a copy of one and the picture."""


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
    extended, size, exif, xmp, coded = False, None, None, None, 0
    while at + 8 <= len(data):
        budget.spend()
        kind, length = bytes(view[at : at + 4]), int.from_bytes(view[at + 4 : at + 8], "little")
        body = view[at + 8 : at + 8 + length]
        if len(body) < length and not coded:
            raise _cut()
        if kind in _PICTURES and not coded:
            size, coded = size or _size(kind, body), length
            keep += _chunk(kind, body)
            if not extended:
                break
        elif kind == b"VP8X" and not keep and length >= 10:
            size = tuple(1 + int.from_bytes(body[i : i + 3], "little") for i in (4, 7))
            keep += _chunk(kind, bytes([body[0] & ~_METADATA_FLAGS]) + bytes(body[1:10]))
            extended = True
        elif kind in (b"ANIM", b"ALPH") and not coded:
            keep += _chunk(kind, body)
        elif kind == b"EXIF":
            exif = from_exif(bytes(body))
        elif kind == b"XMP ":
            xmp = from_xmp(bytes(body))
        at += 8 + length + length % 2
    if not coded or size is None:
        raise _cut()
    width, height = size
    orientation = chosen(exif, xmp)
    return Header(
        format="webp",
        width=width,
        height=height,
        clean=b"".join([b"RIFF", struct.pack("<I", 4 + sum(map(len, keep))), b"WEBP", *keep]),
        orientation=orientation,
        seconds=width * height * _A_PIXEL + len(data) * _A_BYTE,
        pixel_bytes=PIXEL_BYTES,
    )


def _size(kind: bytes, body: memoryview) -> tuple[int, int]:
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise CorruptImageError(f"the picture's size is missing; {SAVE_AGAIN}")


def _chunk(kind: bytes, body: bytes | memoryview) -> list[bytes | memoryview]:
    return [kind, len(body).to_bytes(4, "little"), body, bytes(len(body) % 2)]


def _cut() -> ImageError:
    return TruncatedImageError("the file ends or breaks inside its header; send the whole file")
