"""Walks the chunks of a PNG.

The clean stream holds the header, the palette, its transparency and the pixels, these in one chunk: nothing else.
An animated PNG keeps its pixels as a still one does, and gives its first frame, or the picture that stands for it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from veriphoto.errors import CorruptImageError, ImageError, TruncatedImageError
from veriphoto.headers.header import SAVE_AGAIN, Budget, Header, unsupported
from veriphoto.headers.orientation import chosen, from_exif, from_png_text

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")

# CPU time at its worst, fitted on 40-megapixel files of every kind (docs/robustness.md).
_A_PIXEL: Final = 3e-9  # unpacking
_A_GREY_PIXEL: Final = 3e-9  # more, to make RGB of what is not
_A_CLEAR_PIXEL: Final = 14e-9  # more, to put RGBA on white
_A_KEYED_PIXEL: Final = 20e-9  # more, to put other transparency on white
_AN_INTERLACED_PIXEL: Final = 3.5e-9
_A_BYTE: Final = 2.3e-9  # of the unpacked rows: undoing the filter, copying long repetitions
_A_CODED_BYTE: Final = 60e-9  # more, for inflating short repetitions, ...
_A_LITERAL: Final = 6e-9  # ... which cannot be more than this for each unpacked byte


def read(data: bytes) -> Header:
    """Reads a PNG's header.

    Args:
        data: The file's bytes, which begin with the signature.

    Returns:
        What it says.

    Raises:
        ImageError: If it cannot be decoded, or not in reasonable time.
    """
    found = _Found()
    view, budget, at = memoryview(data), Budget(), len(SIGNATURE)
    while at + 8 <= len(data):
        budget.spend()
        length, kind = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        body = view[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            found.pixels.append(body)
        elif kind == b"IEND" or len(body) < length or (found.pixels and not kind.isalpha()):
            break
        else:
            _take(kind, body, bytes(view[at + 8 + length : at + 12 + length]), found)
        at += 12 + length
    if not found.header or not found.pixels:
        raise _cut()
    return _header(found.header, found.palette, found.clear, found.pixels, chosen(found.exif, found.xmp))


@dataclass(slots=True)
class _Found:
    header: bytes = b""
    palette: bytes = b""
    clear: bytes = b""
    pixels: list[memoryview] = field(default_factory=list)
    exif: int | None = None
    xmp: int | None = None


def _take(kind: bytes, body: memoryview, checksum: bytes, found: _Found) -> None:
    if kind == b"IHDR" and not found.header:
        found.header = _checked(kind, body, checksum)
    elif kind == b"PLTE" and not found.palette:
        found.palette = _checked(kind, body, checksum)
    elif kind == b"tRNS" and not found.clear and not found.pixels:
        # With a wrong checksum it is left out, as libpng does: a flaw in it does not cost the picture.
        found.clear = bytes(body) if _sum(kind, body) == checksum else b""
    elif kind == b"eXIf":
        found.exif = from_exif(bytes(body))
    elif kind in _TEXTS and found.xmp is None:
        found.xmp = from_png_text(kind, bytes(body))
    elif kind == b"CgBI":
        raise unsupported("Apple's own variant of PNG (CgBI)")
    elif not kind.isalpha():
        raise CorruptImageError(f"the chunks of the file are damaged; {SAVE_AGAIN}")


def _header(header: bytes, palette: bytes, clear: bytes, pixels: list[memoryview], orientation: int) -> Header:
    if len(header) != 13:
        raise CorruptImageError(f"the picture's size is missing; {SAVE_AGAIN}")
    width, height, depth, colour, packing, filters, interlace = struct.unpack(">IIBBBBB", header)
    if depth not in _DEPTHS.get(colour, ()) or packing or filters or interlace > 1:
        raise CorruptImageError(f"the picture's colours are described wrongly; {SAVE_AGAIN}")
    if colour == _PALETTE and (not palette or len(palette) % 3):
        raise CorruptImageError(f"the picture's palette is missing or broken; {SAVE_AGAIN}")
    key: tuple[int, ...] | None = None
    if colour in (_GREY, _COLOUR) and len(clear) == 2 * _CHANNELS[colour]:
        key = tuple(value & ((1 << depth) - 1) for value in struct.unpack(f">{_CHANNELS[colour]}H", clear))
    coded = sum(map(len, pixels))
    rows = height * (1 + -(-width * _CHANNELS[colour] * depth // 8))
    pixel = _A_PIXEL + (_AN_INTERLACED_PIXEL if interlace else 0)
    if key is not None or colour == _GREY_ALPHA or (colour == _PALETTE and clear):
        pixel += _A_KEYED_PIXEL
    elif colour != _COLOUR:
        pixel += _A_CLEAR_PIXEL if colour == _COLOUR_ALPHA else _A_GREY_PIXEL
    seconds = width * height * pixel + rows * _A_BYTE + min(coded * _A_CODED_BYTE, rows * _A_LITERAL)
    twice = key is not None and depth == 16 and colour == _COLOUR  # each half of its 16 bits is decoded by itself
    stored = 1 if colour == _PALETTE or (colour == _GREY and depth < 16) else 2 if colour == _GREY else 4
    made = 0 if colour == _COLOUR and key is None else 4
    chunks = [(b"IHDR", header), (b"PLTE", palette if colour == _PALETTE else b"")]
    chunks += [(b"tRNS", clear if colour == _PALETTE else b"")]
    parts: list[bytes | memoryview] = [SIGNATURE]
    for kind, body in chunks:
        if body:
            parts += [len(body).to_bytes(4, "big"), kind, body, _sum(kind, body)]
    # Nobody reads the checksum of pixels: zlib has one of its own.
    parts += [coded.to_bytes(4, "big"), b"IDAT", *pixels, bytes(4), bytes(4), b"IEND", _sum(b"IEND", b"")]
    return Header(
        format="png",
        width=width,
        height=height,
        clean=b"".join(parts),
        orientation=orientation,
        seconds=2 * seconds if twice else seconds,
        pixel_bytes=max(stored * (2 if twice else 1) + made, 8 if orientation > 1 else 4),
        colour_key=key,
        depth=depth,
    )


def _checked(kind: bytes, body: memoryview, checksum: bytes) -> bytes:
    if _sum(kind, body) != checksum:
        raise CorruptImageError(f"the chunk {kind.decode()} is damaged; {SAVE_AGAIN}")
    return bytes(body)


def _sum(kind: bytes, body: bytes | memoryview) -> bytes:
    return zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big")


def _cut() -> ImageError:
    return TruncatedImageError("the file ends or breaks inside its header; send the whole file")
