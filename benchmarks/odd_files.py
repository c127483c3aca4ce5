"""Files that encoders do not make: PNG of every kind from its numbers, and small files that ask for much work."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Saves a picture in memory."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    size: tuple[int, int], depth: int, colour: int, rows: bytes, *, interlace: bool = False, extra: bytes = b""
) -> bytes:
    """A PNG of filtered rows, with chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, int(interlace)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def png_of(values: npt.NDArray[np.int64], depth: int, colour: int, *, interlace: bool, extra: bytes = b"") -> bytes:
    """A PNG of stored numbers [height, width, channels]."""
    parts = [values[y::dy, x::dx] for x, y, dx, dy in _PASSES] if interlace else [values]
    rows = b"".join(row for part in parts if part.size for row in _rows(part, depth))
    return png((values.shape[1], values.shape[0]), depth, colour, rows, interlace=interlace, extra=extra)


def _rows(values: npt.NDArray[np.int64], depth: int) -> Iterator[bytes]:
    for row in values.reshape(len(values), -1):
        if depth == 16:
            yield b"\0" + row.astype(">u2").tobytes()
        else:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            yield b"\0" + np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def flat_png(width: int, height: int, depth: int, colour: int, *, interlace: bool = False) -> bytes:
    """A PNG of zeros, with the filter that is slowest to undo: a thousandth of its pixels' bytes."""
    passes = _PASSES if interlace else ((0, 0, 1, 1),)
    packer, parts = zlib.compressobj(1), []
    for x, y, dx, dy in passes:
        wide, high = -(-(width - x) // dx), -(-(height - y) // dy)
        row = b"\4" + bytes(-(-wide * CHANNELS[colour] * depth // 8))
        for done in range(0, high, 128):
            parts.append(packer.compress(row * min(128, high - done)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlace)))
    body = b"".join(parts) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def segment(code: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


def scans(width: int, height: int, count: int) -> bytes:
    """A grey progressive JPEG with that many scans, all but the first saying nothing."""
    start = encoded(Image.new("L", (width, height), 90), "JPEG", progressive=True)
    first = start.index(b"\xff\xda")
    # One Huffman code, "run of 32,767 empty blocks": a scan takes two bytes for half a million pixels.
    table = segment(0xC4, b"\x10" + b"\1" + bytes(15) + b"\xe0")
    runs = -(-(-(-width // 8) * -(-height // 8)) // (1 << 14))
    bits = ("0" + "0" * 14) * runs
    body = (
        int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8), "big").replace(b"\xff", b"\xff\0")
    )
    scan = segment(0xDA, b"\1\1\0\1\x3f\0") + body
    return start[:first] + start[first : start.index(b"\xff", first + 12)] + table + scan * count + b"\xff\xd9"


def webp_of_34_bytes(width: int, height: int) -> bytes:
    """A lossless WebP of one colour: its Huffman tables have one symbol each."""
    data = encoded(Image.new("RGB", (8, 8), 0), "WEBP", lossless=True)
    at = data.index(b"VP8L") + 9
    bits = int.from_bytes(data[at : at + 4], "little") >> 28 << 28 | (width - 1) | (height - 1) << 14
    return data[:at] + bits.to_bytes(4, "little") + data[at + 4 :]


def grid_without_tiles(rows: int, columns: int) -> bytes:
    """Only the ``meta`` box of a HEIC: a primary item 2 of kind grid that refers to item 1 again and again."""
    full = b"\0\0\0\0"

    def box(kind: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I", 8 + len(body)) + kind + body

    entries = [box(b"infe", b"\2\0\0\0", struct.pack(">HH", i, 0), kind) for i, kind in ((1, b"hvc1"), (2, b"grid"))]
    sizes = [box(b"ispe", full, struct.pack(">II", *size)) for size in ((512, 512), (640, 640))]
    meta = box(
        b"meta",
        full,
        box(b"pitm", full, struct.pack(">H", 2)),
        box(b"iinf", full, struct.pack(">H", 2), *entries),
        box(b"iref", full, box(b"dimg", struct.pack(">HH", 2, rows * columns), struct.pack(">H", 1) * rows * columns)),
        box(b"iprp", box(b"ipco", *sizes), box(b"ipma", full, struct.pack(">I", 2), b"\0\1\1\1\0\2\1\2")),
    )
    return _HEIC + meta


_HEIC: Final = b"\0\0\0\x14ftypheic\0\0\0\0mif1"
_PICTURE: Final = Image.linear_gradient("L").resize((320, 256)).convert("RGB")
_JPEG: Final = encoded(_PICTURE, "JPEG", quality=85)
_PNG: Final = encoded(_PICTURE, "PNG")
_WEBP: Final = encoded(_PICTURE, "WEBP", quality=60)
_COMMENT: Final = segment(0xFE, b"")

BOMBS: Final[dict[str, Callable[[], bytes]]] = {
    "fill": lambda: _JPEG[:2] + b"\xff" * 19_000_000 + _JPEG[2:],
    "app1": lambda: _JPEG[:2] + segment(0xE1, b"") * 1_000_000 + _JPEG[2:],
    "com": lambda: _JPEG[:2] + _COMMENT * 1_000_000 + _JPEG[2:],
    "restarts": lambda: _JPEG[:2] + b"\xff\xd0" * 9_000_000 + _JPEG[2:],
    "com between scans": lambda: scans(640, 480, 1)[:-2] + _COMMENT * 1_000_000 + b"\xff\xd9",
    "png chunks": lambda: _PNG[:33] + chunk(b"teSt", b"") * 1_000_000 + _PNG[33:],
    "png idat": lambda: _PNG[:33] + chunk(b"IDAT", b"") * 1_000_000 + _PNG[33:],
    "webp chunks": lambda: _WEBP[:12] + b"teSt\0\0\0\0" * 1_000_000 + _WEBP[12:],
    "heif boxes": lambda: _HEIC + b"\0\0\0\x08free" * 1_000_000,
    "heif grid": lambda: grid_without_tiles(64, 64),
    "2,000 scans": lambda: scans(6300, 6300, 2_000),
    "150 scans": lambda: scans(6300, 6300, 150),
    "webp": lambda: webp_of_34_bytes(6300, 6300),
    "rgba16": lambda: flat_png(6300, 6300, 16, 6),
    "rgba8 adam7": lambda: flat_png(6300, 6300, 8, 6, interlace=True),
}
"""Work out of proportion, by name: all are refused as ``too_costly``."""

COSTLY: Final[dict[str, Callable[[], bytes]]] = {
    "40 MP, 10 scans": lambda: encoded(Image.new("RGB", (7300, 5470), 99), "JPEG", progressive=True),
    "40 MP": lambda: encoded(Image.new("RGB", (7300, 5470), 99), "JPEG"),
    "40 MP PNG": lambda: flat_png(6300, 6300, 8, 2),
    "40 MP PNG of 16 bits": lambda: flat_png(6300, 6300, 16, 0),
    "24 MP cut-out": lambda: flat_png(5000, 4800, 8, 6),
}
"""Small files of as much work as is done: all are scored."""
