"""Reads PNG's text chunks; what is compressed is unpacked up to a bound."""

from __future__ import annotations

import binascii
import zlib
from dataclasses import dataclass
from typing import Final, Literal

MOST_TEXT: Final = 1_000_000
"""Bytes of one text, before and after unpacking."""
_LONGEST_KEYWORD: Final = 80
_PROFILE: Final = "Raw profile type "


@dataclass(slots=True)
class Text:
    """One chunk."""

    keyword: str
    value: bytes
    complete: bool = True

    @property
    def text(self) -> str:
        """The value decoded; Latin-1 where it is no UTF-8, as the standard says of the older chunks."""
        try:
            return self.value.decode()
        except UnicodeDecodeError:
            return self.value.decode("latin-1")


def read(kind: Literal["tEXt", "zTXt", "iTXt"], chunk: bytes) -> Text:
    """Reads one chunk.

    Args:
        kind: Its type.
        chunk: Its data.
    """
    keyword, _, rest = chunk[: _LONGEST_KEYWORD + MOST_TEXT + 1000].partition(b"\0")
    found = Text(keyword[:_LONGEST_KEYWORD].decode("latin-1"), b"", len(keyword) < _LONGEST_KEYWORD)
    packed = kind == "zTXt"
    if packed:
        rest = rest[1:]
    elif kind == "iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # behind language and translated keyword
    if packed:
        unpack = zlib.decompressobj()
        try:
            found.value = unpack.decompress(rest[:MOST_TEXT], MOST_TEXT)
            found.complete &= unpack.eof
        except zlib.error:
            found.complete = False
    else:
        found.value = rest[:MOST_TEXT]
        found.complete &= len(chunk) <= MOST_TEXT
    return found


def profile(text: Text) -> tuple[str, bytes] | None:
    """Returns kind and bytes of a profile that ImageMagick has written into a text as hexadecimal digits."""
    if not text.keyword.startswith(_PROFILE):
        return None
    lines = text.value.split(b"\n", 3)  # an empty one, the name, the length, the digits
    try:
        body = binascii.unhexlify(b"".join(lines[-1].split()))
    except (binascii.Error, ValueError):
        text.complete = False
        body = b""
    return text.keyword.removeprefix(_PROFILE).lower(), body
