"""Finds the metadata in a JPEG, PNG, WebP, HEIF or AVIF file without decoding it, wherever in the file it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal, NamedTuple

from veriphoto_client.metadata import boxes

Kind = Literal["tEXt", "zTXt", "iTXt", "comment", "exif", "xmp", "photoshop", "c2pa", "bound"]

MOST_PARTS: Final = 32_768
"""Chunks, segments or boxes of one file that are looked at; a PNG of 20 MB has 2,500 from libpng."""
_MOST_AT_ONCE: Final = 4096
_MOST_SCANNED: Final = 1_000_000

_HEADER: Final = 8
# A marker of JPEG that is no stuffed byte, fill byte or restart: entropy-coded data holds none of these.
_MARKER: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_PNG: Final[dict[bytes, Kind]] = {
    b"tEXt": "tEXt",
    b"zTXt": "zTXt",
    b"iTXt": "iTXt",
    b"eXIf": "exif",
    b"caBX": "c2pa",
}
_WEBP: Final[dict[bytes, Kind]] = {b"EXIF": "exif", b"XMP ": "xmp", b"C2PA": "c2pa"}
_JPEG: Final[tuple[tuple[int, bytes, Kind], ...]] = (
    (0xE1, b"Exif\0", "exif"),
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0", "xmp"),
    (0xED, b"Photoshop 3.0\0", "photoshop"),
)
_EXTENDED_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"


class Part(NamedTuple):
    """Metadata at ``data[start:end]``; of kind ``bound`` where the walk stopped before the file's end."""

    kind: Kind
    start: int = 0
    end: int = 0


def kind_of(data: bytes) -> str:
    """Returns the subtype of the media type by the first bytes; empty if the container is not known here."""
    if data.startswith(b"\xff\xd8"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return "avif" if b"avif" in data[8:32] else "heif"
    return ""


def may_claim(data: bytes) -> bool:
    """Tells whether a file may hold EXIF, XMP, C2PA or text.

    Costs well under a millisecond, where looking into the metadata costs many times that; most pictures on marketplaces
    have lost theirs.

    Args:
        data: The bytes of the file.

    Returns:
        False only where none can be in it.
    """
    kind = kind_of(data)
    if not kind:
        # TIFF and GIF: metadata in them is not read, and the answer has to say so.
        return data[:4] in (b"II*\0", b"MM\0*", b"GIF8")
    return next(_walk(data, kind, _MOST_AT_ONCE, _MOST_SCANNED), None) is not None


def parts(data: bytes) -> Iterator[Part]:
    """Yields what may be metadata, in the order of the file.

    Args:
        data: The bytes of a file whose ``kind_of`` is known.
    """
    return _walk(data, kind_of(data), MOST_PARTS, len(data))


def _walk(data: bytes, kind: str, most: int, scanned: int) -> Iterator[Part]:
    if kind == "jpeg":
        return _jpeg(data, most, scanned)
    if kind in ("avif", "heif"):
        return (Part(found, start, end) for found, start, end in boxes.parts(data, most))
    return _chunks(data, most, png=kind == "png")


def _jpeg(data: bytes, most: int, scanned: int) -> Iterator[Part]:
    scan = False
    for marker, at, until in islice(_markers(data, 2, scanned), most):
        scan |= marker == 0xDA
        if marker == 0xD9 and scan:
            return
        body = data[at : min(until, at + 64)]
        if marker == 0xFE:
            yield Part("comment", at, until)
        elif marker == 0xEB and data.find(b"c2pa", at, until) >= 0:
            yield Part("c2pa", at, until)
        elif marker == 0xE1 and body.startswith(_EXTENDED_XMP) and data.find(b"DigitalSourceType", at, until) >= 0:
            yield Part("bound")  # an extension comes in pieces; what is looked for belongs into the main packet
        for number, prefix, kind in _JPEG:
            if marker == number and body.startswith(prefix):
                yield Part(kind, at + len(prefix), until)
    yield Part("bound")  # too many, or no end


def _markers(data: bytes, at: int, scanned: int) -> Iterator[tuple[int, int, int]]:
    """Yields markers with what belongs to them; also behind the first scan, where progressive files have more."""
    budget = scanned
    while True:
        found = _MARKER.search(data, at, min(len(data), at + budget))
        if found is None and at + budget >= len(data):  # lacks its end marker, but nothing else
            yield 0xD9, len(data), len(data)
        if found is None:
            return
        budget -= found.start() - at
        marker, at = data[found.start() + 1], found.end()
        if marker == 0xD9:
            yield marker, at, at
            return
        if marker in (0x01, 0xD8):  # these two have no length
            continue
        size = int.from_bytes(data[at : at + 2], "big")
        until = at + size
        if size < 2 or until > len(data):
            return
        yield marker, at + 2, until
        at = until


def _chunks(data: bytes, most: int, *, png: bool) -> Iterator[Part]:
    at = 8 if png else 12
    kinds = _PNG if png else _WEBP
    for _ in range(most):
        if at + _HEADER > len(data):
            return
        if png:
            size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + _HEADER]
        else:
            name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + _HEADER], "little")
        start, end = at + _HEADER, at + _HEADER + size
        if end > len(data):
            break
        if name in kinds:
            yield Part(kinds[name], start, end)
        if name == b"IEND":
            return
        at = end + (4 if png else size % 2)  # a checksum, or padding
    yield Part("bound")
