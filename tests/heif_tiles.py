"""HEIC and AVIF files of any size, made in milliseconds: a grid of one small coded picture."""

from __future__ import annotations

import io
import struct

import pillow_heif
from PIL import Image

from veriphoto.headers.header import Budget
from veriphoto.headers.heif import _boxes


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _inside(data: bytes, *path: bytes) -> dict[bytes, bytes]:
    view = memoryview(data)
    for name in path:
        view = next(body for kind, body, _ in _boxes(view, Budget()) if kind == name)
        view = view[4:] if name == b"meta" else view
    return {kind: bytes(body) for kind, body, _ in _boxes(view, Budget())}


def heic_tile(tile: Image.Image, chroma: str, *, deep: bool, quality: int) -> bytes:
    """Codes a picture with that chroma ("420", "422", "444"), in 8 or 10 bits."""
    made = io.BytesIO()
    pixels = tile.tobytes()
    pixels = bytes(2 * len(pixels)) if deep else pixels
    if deep:
        wide = bytearray(pixels)
        wide[1::2] = tile.tobytes()
        pixels = bytes(wide)
    pillow_heif.encode("RGB;16" if deep else "RGB", tile.size, pixels, made, quality=quality, chroma=chroma)
    return made.getvalue()


def grid(tile: bytes, columns: int, rows: int) -> bytes:
    """A file whose picture is that many times the picture of another file, each an item of its own."""
    properties, count = _inside(tile, b"meta", b"iprp", b"ipco"), columns * rows
    config = next(kind for kind in (b"hvcC", b"av1C") if kind in properties)
    coded = _inside(tile)[b"mdat"]
    width, height = struct.unpack(">II", properties[b"ispe"][4:12])
    whole = struct.pack(">II", columns * width, rows * height)
    full, primary = b"\0\0\0\0", count + 1
    kind = b"hvc1" if config == b"hvcC" else b"av01"
    names = [(number, kind) for number in range(1, primary)] + [(primary, b"grid")]
    form = b"\0\1" + bytes((rows - 1, columns - 1)) + whole  # sides of 32 bits
    shared = box(b"ipco", box(config, properties[config]), box(b"ispe", properties[b"ispe"]), box(b"ispe", full, whole))
    owned = b"".join(struct.pack(">HBBB", number, 2, 0x81, 2) for number in range(1, primary))
    owned += struct.pack(">HBB", primary, 1, 3)
    ftyp = tile[: int.from_bytes(tile[:4], "big")]

    def meta(start: int) -> bytes:
        places = [(number, start, len(coded)) for number in range(1, primary)]
        places.append((primary, start + len(coded), len(form)))
        return box(
            b"meta",
            full,
            box(b"hdlr", full, bytes(4), b"pict", bytes(13)),
            box(b"pitm", full, struct.pack(">H", primary)),
            box(
                b"iloc",
                full,
                b"\x44\0",
                struct.pack(">H", primary),
                *(struct.pack(">HHHII", number, 0, 1, *place) for number, *place in places),
            ),
            box(
                b"iinf",
                full,
                struct.pack(">H", primary),
                *(box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), name, b"\0") for number, name in names),
            ),
            box(b"iref", full, box(b"dimg", struct.pack(f">HH{count}H", primary, count, *range(1, primary)))),
            box(b"iprp", shared, box(b"ipma", full, struct.pack(">I", primary), owned)),
        )

    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box(b"mdat", coded, form)
