"""Text from outside, such as a file's name, on its way to a terminal."""

from __future__ import annotations

import re
from typing import Final

_OBEYED: Final = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, the beginnings of escape sequences among them, and marks that turn the direction of writing."""


def visible(text: str) -> str:
    """Returns a text with a replacement character for each character that a terminal would obey instead of show."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", text)
