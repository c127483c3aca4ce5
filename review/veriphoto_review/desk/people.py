"""Who uses the desk, and the day's progress."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from veriphoto_review.database.connection import clean

_LONGEST: Final = 80


def reviewer(header: str, headers: Mapping[str, str], typed: str) -> str:
    """Finds out who is deciding.

    Args:
        header: Where the proxy says so; empty where there is none that does.
        headers: Of the page's request.
        typed: What the visitor calls themselves, which counts only without a proxy.

    Returns:
        A name; empty where nobody is known.
    """
    if header:
        named = {name.lower(): value for name, value in headers.items()}
        return clean(named.get(header.lower(), "")).strip()[:_LONGEST]
    return clean(typed).strip()[:_LONGEST]


def start_of_day(now: float) -> float:
    """Returns when the day began, UTC."""
    return datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def progress(counts: Mapping[str, int], me: str, still_open: int) -> str:
    """Returns a line on the day's progress."""
    return f"Today: {sum(counts.values())} decided, {counts.get(me, 0)} of them by you · {still_open} open"
