"""Reads the texts of an EXIF block, and which of a camera's fields it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MAKE: Final = 0x010F
MODEL: Final = 0x0110
_EXIF_IFD: Final = 0x8769
_USER_COMMENT: Final = 0x9286
_MAKER_NOTE: Final = 0x927C

NAMES: Final = {
    0x010D: "DocumentName",
    0x010E: "ImageDescription",
    MAKE: "Make",
    MODEL: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x013C: "HostComputer",
    0x8298: "Copyright",
    _MAKER_NOTE: "MakerNote",
    _USER_COMMENT: "UserComment",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0x9C9E: "XPKeywords",
    0x9C9F: "XPSubject",
}
_WINDOWS: Final = range(0x9C9B, 0x9CA0)  # these are UTF-16, whatever their type says

# fmt: off
CAMERA: Final = frozenset((
    # ExposureTime, FNumber, ExposureProgram, ISO, DateTimeOriginal, ShutterSpeed, Aperture, MeteringMode, Flash,
    0x829A, 0x829D, 0x8822, 0x8827, 0x9003, 0x9201, 0x9202, 0x9207, 0x9209,
    # FocalLength, SensingMethod, ExposureMode, WhiteBalance, FocalLengthIn35mm, LensSpecification, LensModel
    0x920A, 0xA217, 0xA402, 0xA403, 0xA405, 0xA432, 0xA434,
))
# fmt: on
"""Tags that cameras write, and image generators do not."""

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_TEXTS: Final = (1, 2, 7, 129)
_MOST_ENTRIES: Final = 512
_MOST_TEXT: Final = 1_000_000
_LONGEST_NOTE: Final = 16
"""A camera's maker note is binary and long; Fooocus writes one word there."""


@dataclass(slots=True)
class Exif:
    """What is of interest in one block."""

    texts: dict[int, str] = field(default_factory=dict)
    """By tag."""
    tags: set[int] = field(default_factory=set)
    complete: bool = True


def read(block: bytes) -> Exif:
    """Reads the first directory and the one of EXIF.

    Args:
        block: From the TIFF header on, or from the ``Exif`` that stands before it.
    """
    block = block.removeprefix(b"Exif").lstrip(b"\0\xff")  # two bytes of padding, of either kind
    found = Exif()
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[:4])
    if order is None:
        found.complete = not block  # an empty block is what some services leave of one
        return found
    little = order == "little"
    directories, room = [_number(block, 4, 4, little)], _MOST_TEXT
    for number in range(2):
        if number >= len(directories):
            break
        for tag, kind, value in _entries(block, directories[number], little, found):
            found.tags.add(tag)
            if tag == _EXIF_IFD and number == 0 and len(value) == 4:
                directories.append(_number(value, 0, 4, little))
            elif kind in _TEXTS and (tag in NAMES or kind in (2, 129)):
                if tag == _MAKER_NOTE and len(value) > _LONGEST_NOTE:
                    continue
                found.complete &= len(value) <= room
                found.texts[tag] = _text(tag, value[:room], little)
                room -= min(len(value), room)
    return found


def _entries(block: bytes, at: int, little: bool, found: Exif) -> Iterator[tuple[int, int, bytes]]:
    count = _number(block, at, 2, little)
    if at + 2 > len(block) or count > _MOST_ENTRIES:
        found.complete = False
    for entry in range(at + 2, at + 2 + 12 * min(count, _MOST_ENTRIES), 12):
        if entry + 12 > len(block):
            found.complete = False
            return
        tag, kind = _number(block, entry, 2, little), _number(block, entry + 2, 2, little)
        size = _SIZES.get(kind, 0) * _number(block, entry + 4, 4, little)
        start = entry + 8 if size <= 4 else _number(block, entry + 8, 4, little)
        if start + size > len(block):
            found.complete = False
            size = max(0, len(block) - start)
        yield tag, kind, block[start : start + min(size, _MOST_TEXT + 1)]


def _number(block: bytes, at: int, size: int, little: bool) -> int:
    return int.from_bytes(block[at : at + size], "little" if little else "big")


def _text(tag: int, value: bytes, little: bool) -> str:
    if tag in _WINDOWS:
        return value.decode("utf-16-le", "replace").rstrip("\0")
    if tag == _USER_COMMENT:
        return _comment(value, little)
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _comment(value: bytes, little: bool) -> str:
    """Decodes a UserComment: eight bytes name the encoding, unless the writer left them out."""
    code, body = value[:8], value[8:]
    if code == b"UNICODE\0":
        # Exif says the block's byte order; piexif writes big-endian into any block. ASCII letters tell.
        zeros = [body[start:400:2].count(0) for start in (0, 1)]
        big = zeros[0] > zeros[1] if zeros[0] != zeros[1] else not little
        return body.decode("utf-16-be" if big else "utf-16-le", "replace").rstrip("\0")
    if code in (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", bytes(8)):
        value = body
    return value.strip(b"\0").decode("utf-8", "replace")
