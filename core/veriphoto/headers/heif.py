"""Walks the boxes of a HEIF file (HEIC, AVIF) to its primary picture.

Only still pictures in HEVC or AV1 are taken, whole or as a grid of tiles: what phones and browsers make. The price
counts every tile that the grid asks for, however often.

Rotation and mirroring (``irot``, ``imir``) are the decoder's, and
EXIF's orientation, which repeats them, is not applied again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from veriphoto.errors import CorruptImageError, ImageError, TruncatedImageError
from veriphoto.headers.header import SAVE_AGAIN, Budget, Header, unsupported

_CODED: Final = {b"hvc1": "heif", b"av01": "avif"}
_DERIVED: Final = (b"grid", b"iden")
_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"miaf", b"avif", b"avis", b"msf1", b"hevc"}
_VIDEOS: Final = {b"qt  ": "a QuickTime video", b"crx ": "CR3 (Canon's raw)", b"M4A ": "M4A sound"}
_ALPHA: Final = b"alpha"

# CPU time at its worst, fitted on the largest files of either kind (docs/robustness.md).
_A_PIXEL: Final = {"heif": 30e-9, "avif": 16e-9}
_A_BYTE: Final = {"heif": 70e-9, "avif": 50e-9}
_DEEP: Final = 1.6
"""What more than eight bits a sample multiply the time by: decoders have their fast ways for eight."""
_A_CLEAR_PIXEL: Final = 30e-9  # more, to put it on white
_PIXEL_BYTES: Final = {"heif": 7.5, "avif": 8.5}
"""Beside the samples themselves."""
_SAMPLE_BYTES: Final = {"heif": 3, "avif": 2}  # of more than eight bits, with their copy in eight; others have one
_CLEAR_PIXEL_BYTES: Final = 8  # more, to put it on white
_PLAIN: Final = 1.5
"""Samples a pixel where colour has half the width and height; prices are those of such pictures."""

_Properties = list[tuple[bytes, memoryview]]


@dataclass(slots=True)
class _Meta:
    """What the ``meta`` box says."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    """Coded bytes of an item."""
    references: list[tuple[bytes, int, tuple[int, ...]]] = field(default_factory=list)
    properties: _Properties = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=dict)
    """Places of an item's properties in the list above, from 1."""
    found: dict[int, dict[bytes, memoryview]] = field(default_factory=dict)
    """The properties of an item that was asked for."""

    def of(self, item: int, kind: bytes) -> memoryview | None:
        """Returns the first property of that kind which an item has."""
        if item not in self.found:  # once an item: a grid may name one item a hundred thousand times
            places = [place - 1 for place in self.owned.get(item, []) if 0 < place <= len(self.properties)]
            self.found[item] = dict(self.properties[place] for place in reversed(places))
        return self.found[item].get(kind)

    def samples(self, item: int) -> tuple[float, bool]:
        """Returns an item's samples a pixel, and whether they have more than eight bits, as its decoder is told."""
        hevc, av1 = self.of(item, b"hvcC"), self.of(item, b"av1C")
        if hevc is not None and len(hevc) > 18:
            return (_PLAIN, _PLAIN, 2.0, 3.0)[hevc[16] & 3], bool((hevc[17] | hevc[18]) & 7)
        if av1 is not None and len(av1) > 2:
            whole_width, whole_height = not av1[2] & 8, not av1[2] & 4
            return (3.0 if whole_height else 2.0) if whole_width else _PLAIN, bool(av1[2] & 0x60)
        return _PLAIN, False

    def area(self, item: int) -> int:
        """Returns an item's pixels, 0 where it does not say."""
        size = self.of(item, b"ispe")
        if size is None or len(size) < 12:
            return 0
        width, height = struct.unpack(">II", size[4:12])
        return int(width * height)


def read(data: bytes) -> Header:
    """Reads the header of a HEIC or AVIF file.

    Args:
        data: The file's bytes, which begin with an ``ftyp`` box.

    Returns:
        What it says; the clean stream is the file.

    Raises:
        ImageError: If it cannot be decoded, or not in reasonable time.
    """
    view, budget, meta = memoryview(data), Budget(), None
    try:
        for kind, body, whole in _boxes(view, budget):
            if kind == b"ftyp":
                _check_brands(bytes(body[:200]))
            elif kind == b"meta" and meta is None:
                meta = _meta(body[4:], budget)
            if not whole:
                raise TruncatedImageError("the file ends before the picture does; send the whole file")
    except (struct.error, IndexError) as error:
        raise _broken() from error
    if meta is None:
        raise unsupported("a video or a sequence of pictures in a HEIF file")
    return _header(data, meta)


def _header(data: bytes, meta: _Meta) -> Header:
    primary = meta.primary
    tiles = next((to for kind, item, to in meta.references if kind == b"dimg" and item == primary), ())
    kind = meta.kinds.get(primary, b"")
    items = list(tiles) if kind in _DERIVED else [primary]
    coded = {meta.kinds.get(item, b"") for item in items}
    if len(coded) != 1 or not coded <= _CODED.keys():
        name = (coded - _CODED.keys() or {kind}).pop().decode("latin-1").strip()
        raise unsupported(f"a HEIF file whose picture is of the kind '{name}'")
    format_ = _CODED[coded.pop()]
    alpha = [
        item
        for reference, item, to in meta.references
        if reference == b"auxl" and primary in to and _ALPHA in bytes(meta.of(item, b"auxC") or b"")[:100]
    ]
    size = meta.of(primary, b"ispe")
    if size is None or len(size) < 12:
        raise _broken()
    width, height = struct.unpack(">II", size[4:12])
    pixels = max(width * height, sum(map(meta.area, items)))
    clear = sum(map(meta.area, alpha))
    coded_bytes = sum(meta.sizes.get(item, 0) for item in items + alpha)
    told = [meta.samples(item) for item in dict.fromkeys(items + alpha)]
    samples, deep = max(each for each, _ in told), any(each for _, each in told)
    seconds = (pixels + clear) * _A_PIXEL[format_] * samples / _PLAIN + coded_bytes * _A_BYTE[format_]
    seconds = seconds * (_DEEP if deep else 1) + (width * height * _A_CLEAR_PIXEL if alpha else 0)
    pixel_bytes = _PIXEL_BYTES[format_] + samples * (_SAMPLE_BYTES[format_] if deep else 1)
    return Header(
        format=format_,
        width=width,
        height=height,
        clean=data,
        seconds=seconds,
        pixel_bytes=pixel_bytes * pixels / max(width * height, 1) + (_CLEAR_PIXEL_BYTES if alpha else 0),
    )


def _boxes(view: memoryview, budget: Budget) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Yields kind, content and whether the content is whole, of one box after the other."""
    at = 0
    while at + 8 <= len(view):
        budget.spend()
        size, kind, head = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8]), 8
        if size == 1:
            size, head = int.from_bytes(view[at + 8 : at + 16], "big"), 16
        end = len(view) if size == 0 else at + size
        if end < at + head:
            raise _broken()
        yield kind, view[at + head : end], end <= len(view)
        at = end


def _check_brands(body: bytes) -> None:
    brands = {body[i : i + 4] for i in range(0, len(body), 4) if i != 4}
    if not brands & _BRANDS:
        name = _VIDEOS.get(body[:4], f"a video or another file of the kind '{body[:4].decode('latin-1').strip()}'")
        raise unsupported(name)


def _meta(view: memoryview, budget: Budget) -> _Meta:
    meta = _Meta()
    for kind, body, _ in _boxes(view, budget):
        if kind == b"pitm":
            meta.primary = int.from_bytes(body[4 : 8 if body[0] else 6], "big")
        elif kind == b"iinf":
            _kinds(body, meta, budget)
        elif kind == b"iref":
            _references(body, meta, budget)
        elif kind == b"iloc":
            _locations(body, meta, budget)
        elif kind == b"iprp":
            _properties(body, meta, budget)
    return meta


def _kinds(body: memoryview, meta: _Meta, budget: Budget) -> None:
    for kind, entry, _ in _boxes(body[8 if body[0] else 6 :], budget):
        if kind == b"infe" and entry[0] >= 2:
            wide = 4 if entry[0] > 2 else 2
            item = int.from_bytes(entry[4 : 4 + wide], "big")
            meta.kinds[item] = bytes(entry[6 + wide : 10 + wide])


def _properties(body: memoryview, meta: _Meta, budget: Budget) -> None:
    for kind, content, _ in _boxes(body, budget):
        if kind == b"ipco":
            meta.properties = [(name, value) for name, value, _ in _boxes(content, budget)]
        elif kind == b"ipma":
            _associations(content, meta, budget)


def _references(body: memoryview, meta: _Meta, budget: Budget) -> None:
    wide = 4 if body[0] else 2
    for kind, entry, _ in _boxes(body[4:], budget):
        item, count = int.from_bytes(entry[:wide], "big"), int.from_bytes(entry[wide : wide + 2], "big")
        numbers = entry[wide + 2 : wide + 2 + count * wide]
        for _ in range(0, len(numbers), 16):
            budget.spend()
        form = f">{len(numbers) // wide}{'I' if wide == 4 else 'H'}"
        meta.references.append((kind, item, struct.unpack(form, numbers[: struct.calcsize(form)])))


def _associations(body: memoryview, meta: _Meta, budget: Budget) -> None:
    wide, step = 4 if body[0] else 2, 2 if body[3] & 1 else 1
    at = 8
    for _ in range(int.from_bytes(body[4:8], "big")):
        budget.spend()
        item, count = int.from_bytes(body[at : at + wide], "big"), body[at + wide]
        at += wide + 1
        places = body[at : at + count * step]
        budget.spend(-(-count // 16))  # sixteen of them cost no more than a part elsewhere
        # The highest bit of each says "essential".
        meta.owned.setdefault(item, []).extend(
            int.from_bytes(places[i : i + step], "big") & ((1 << (8 * step - 1)) - 1)
            for i in range(0, len(places), step)
        )
        at += count * step


def _locations(body: memoryview, meta: _Meta, budget: Budget) -> None:
    version, sizes, more = body[0], body[4], body[5]
    offset, length, base, index = sizes >> 4, sizes & 15, more >> 4, more & 15 if version else 0
    wide = 4 if version == 2 else 2
    count = int.from_bytes(body[6 : 6 + wide], "big")
    at = 6 + wide
    for _ in range(count):
        item = int.from_bytes(body[at : at + wide], "big")
        at += wide + (2 if version else 0) + 2 + base
        extents = int.from_bytes(body[at : at + 2], "big")
        at += 2
        for _ in range(extents):
            budget.spend()
            at += index + offset
            meta.sizes[item] = meta.sizes.get(item, 0) + int.from_bytes(body[at : at + length], "big")
            at += length
        budget.spend()


def _broken() -> ImageError:
    return CorruptImageError(f"the boxes of the file are damaged; {SAVE_AGAIN}")
