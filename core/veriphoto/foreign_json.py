"""JSON from elsewhere: what cannot be read is a ``ValueError``, however it is broken."""

from __future__ import annotations

import json
from typing import Any, Final

DEEPEST: Final = 64
"""Lists and objects inside each other. Whoever walks through what was read by recursion has room for so many."""


def parse(text: str | bytes) -> Any:
    """Parses JSON that somebody else has written.

    Args:
        text: One JSON value, as text or in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: If it is not JSON, or is nested deeper than ``DEEPEST``.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from error
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return value
    raise ValueError(f"nested deeper than {DEEPEST} levels")


def _parts(value: Any) -> list[Any]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [part for part in inside if isinstance(part, dict | list)]
