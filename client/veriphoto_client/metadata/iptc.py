"""Reads the captions and credits of an IPTC-IIM record, as Photoshop keeps it in JPEG files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_IPTC: Final = 0x0404
_MOST: Final = 512
_NAMES: Final = {
    5: "ObjectName",
    40: "SpecialInstructions",
    65: "OriginatingProgram",
    80: "By-line",
    105: "Headline",
    110: "Credit",
    115: "Source",
    120: "Caption-Abstract",
}


def read(resources: bytes) -> Iterator[tuple[str, str]]:
    """Yields names and texts of the fields that may tell a generator.

    Args:
        resources: Photoshop's image resources, behind ``Photoshop 3.0``.
    """
    at = 0
    for _ in range(_MOST):
        if resources[at : at + 4] != b"8BIM" or at + 12 > len(resources):
            return
        number = int.from_bytes(resources[at + 4 : at + 6], "big")
        at += 6 + (resources[at + 6] // 2 + 1) * 2  # a name, padded to an even length
        size = int.from_bytes(resources[at : at + 4], "big")
        if number == _IPTC:
            yield from records(resources[at + 4 : at + 4 + size])
        at += 4 + size + size % 2


def records(data: bytes) -> Iterator[tuple[str, str]]:
    """Yields the same from the record itself."""
    at = 0
    for _ in range(_MOST):
        if at + 5 > len(data) or data[at] != 0x1C:
            return
        record, number, size = data[at + 1], data[at + 2], int.from_bytes(data[at + 3 : at + 5], "big")
        if record == 2 and number in _NAMES:
            yield _NAMES[number], data[at + 5 : at + 5 + size].decode("utf-8", "replace")
        at += 5 + size
