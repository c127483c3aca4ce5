"""EXIF orientation, read without a general EXIF parser.

Hostile EXIF makes general parsers copy the file once for each of 65,535 entries; one number is all that decoding needs.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

_TAG: Final = 0x0112
_WIDTHS: Final = {1: "B", 3: "H", 4: "I"}
_XMP: Final = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_TEXT: Final = 1 << 20


def from_exif(block: bytes) -> int | None:
    """Finds the orientation in an EXIF block.

    Args:
        block: The TIFF structure, with or without ``Exif`` and two zeros before it.

    Returns:
        The number as stored, or None where there is none or the block is broken: that says nothing about the pixels.
    """
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    found = None
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, directory)
        for index in range(entries):
            at = directory + 2 + 12 * index
            tag, kind, count = struct.unpack_from(order + "HHI", block, at)
            if tag == _TAG and kind in _WIDTHS and count:
                form = order + _WIDTHS[kind]
                inline = count * struct.calcsize(form) <= 4
                where = at + 8 if inline else struct.unpack_from(order + "I", block, at + 8)[0]
                (found,) = struct.unpack_from(form, block, where)
    except struct.error:
        pass
    return found


def from_xmp(packet: bytes) -> int | None:
    """Finds the orientation in an XMP packet.

    Args:
        packet: The XML text.

    Returns:
        The number, or None where there is none.
    """
    found = _XMP.search(packet[:_TEXT])
    return int(found[1]) if found else None


def from_png_text(kind: bytes, body: bytes) -> int | None:
    """Finds the orientation in a PNG's text: XMP, or the EXIF block that older ImageMagick writes in hexadecimal.

    Args:
        kind: The chunk's type, ``tEXt``, ``zTXt`` or ``iTXt``.
        body: Its content.

    Returns:
        The number, or None where this text has none.
    """
    keyword, _, rest = body.partition(b"\0")
    try:
        if keyword == b"XML:com.adobe.xmp" and kind == b"iTXt":
            packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
            return from_xmp(_inflate(text) if packed else text)
        if keyword == b"Raw profile type exif":
            text = _inflate(rest[1:]) if kind == b"zTXt" else rest[:_TEXT]
            return from_exif(bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:])))
    except (ValueError, zlib.error):
        pass
    return None


def chosen(exif: int | None, xmp: int | None) -> int:
    """Returns EXIF's word where it has one, else XMP's, else 1; anything but 1..8 is 1.

    Args:
        exif: What EXIF says.
        xmp: What XMP says.
    """
    found = xmp if exif is None else exif
    return found if found is not None and 1 <= found <= 8 else 1


def _inflate(packed: bytes) -> bytes:
    return zlib.decompressobj().decompress(packed, _TEXT)
