"""Files that encoders do not make: PNG of every kind from its numbers, and small files that ask for much work."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
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
