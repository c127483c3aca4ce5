"""Finds metadata among the boxes of a HEIF or AVIF file (ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

_MOST_ITEMS: Final = 1024
_C2PA: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")

Found = tuple[Literal["exif", "xmp", "c2pa", "bound"], int, int]


def parts(data: bytes, most: int) -> Iterator[Found]:
    """Yields what may be metadata as kind, start and end; of kind ``bound`` where the boxes make no sense.

    Args:
        data: The bytes of the file.
        most: Boxes to look at.
    """
    try:
        for name, start, end in _boxes(data, 0, len(data), most):
            if name == b"uuid" and data[start : start + 16] == _C2PA:
                yield "c2pa", start + 16, end
            elif name == b"meta":
                yield from _items(data, start + 4, end, most)
    except (ValueError, IndexError):
        yield "bound", 0, 0


def _boxes(data: bytes, at: int, until: int, most: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(most):
        if at + 8 > until:
            return
        size, name, start = _number(data, at, 4), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = _number(data, start, 8), at + 16
        end = at + size if size else until
        if end < start or end > until:
            raise ValueError("a box is larger than what it lies in")
        yield name, start, end
        at = end
    raise ValueError("too many boxes")


def _items(data: bytes, at: int, until: int, most: int) -> Iterator[Found]:
    """Yields the items Exif and XMP of a meta box: ``iinf`` says what an item is, ``iloc`` where it lies."""
    kinds: dict[int, Literal["exif", "xmp"]] = {}
    places: dict[int, list[tuple[int, int]]] = {}
    for name, start, end in _boxes(data, at, until, most):
        if name == b"iinf":
            kinds = dict(_kinds(data, start, end, most))
        elif name == b"iloc":
            places = dict(_places(data, start, end))
    for item, kind in kinds.items():
        extents = places.get(item, [])
        if len(extents) != 1 or extents[0][0] + extents[0][1] > len(data):
            yield "bound", 0, 0  # in pieces, or in another box than the file itself
            continue
        start, size = extents[0]
        skip = 4 + _number(data, start, 4) if kind == "exif" else 0
        yield kind, min(start + skip, start + size), start + size


def _kinds(data: bytes, at: int, until: int, most: int) -> Iterator[tuple[int, Literal["exif", "xmp"]]]:
    version = data[at]
    at += 6 if version == 0 else 8
    for name, start, _end in _boxes(data, at, until, most):
        if name != b"infe" or data[start] < 2:
            continue
        wide = 4 if data[start] == 3 else 2
        item, kind = _number(data, start + 4, wide), start + 4 + wide + 2
        if data[kind : kind + 4] == b"Exif":
            yield item, "exif"
        elif data[kind : kind + 4] == b"mime" and b"application/rdf+xml" in data[kind + 4 : _end]:
            yield item, "xmp"


def _places(data: bytes, at: int, until: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    version, sizes = data[at], _number(data, at + 4, 2)
    offset, length, base = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    count, at = _number(data, at + 6, wide), at + 6 + wide
    for _ in range(min(count, _MOST_ITEMS)):
        item, at = _number(data, at, wide), at + wide
        method = 0
        if version:
            method, at = _number(data, at, 2) & 15, at + 2
        begin, at = _number(data, at + 2, base), at + 2 + base
        extents, at = _number(data, at, 2), at + 2
        found = []
        for _ in range(min(extents, _MOST_ITEMS)):
            at += index
            start, size = _number(data, at, offset), _number(data, at + offset, length)
            at += offset + length
            found.append((begin + start, size))
        if at > until:
            raise ValueError("iloc ends within an item")
        yield item, found if method == 0 else []


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError("a number lies behind the end of the file")
    return int.from_bytes(data[at : at + size], "big")
