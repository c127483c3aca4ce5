"""Size and modification time of a file, by which a scan notices that it has changed since its row was written."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and modification time of a file, as its row holds them; both None if unknown."""

    size: int | None = None
    modified: str | None = None
    """UTC, to the microsecond: ``2026-03-14T15:09:26.535897Z``."""

    def __bool__(self) -> bool:
        return self.size is not None and bool(self.modified)

    @property
    def number(self) -> int:
        """A 64-bit hash of both, never one of the smallest numbers, which have other meanings."""
        digest = hashlib.blake2b(f"{self.size} {self.modified}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") | 1 << 8

    @classmethod
    def of(cls, size: int, modified_ns: int) -> Stamp:
        """Makes a stamp from a size in bytes and a time in nanoseconds since 1970."""
        return cls(size, utc(modified_ns))


UNKNOWN: Final = Stamp()


def stamp_of(path: str) -> Stamp:
    """Returns the stamp of a file, following links; ``UNKNOWN`` if it cannot be read."""
    try:
        status = os.stat(path)  # noqa: PTH116  a Path for each of millions of files
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return UNKNOWN
    return Stamp.of(status.st_size, status.st_mtime_ns)


def utc(nanoseconds: int) -> str:
    """Returns a time, in nanoseconds since 1970, as rows hold it."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        when = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # a file may say that it is from the year 100,000
        return f"{seconds}.{rest // 1000:06}"
    return f"{when:%Y-%m-%dT%H:%M:%S}.{rest // 1000:06}Z" if when.year >= 1000 else f"{seconds}.{rest // 1000:06}"


def microseconds(modified: str | None) -> int:
    """Parses a time that ``utc`` has formatted into microseconds since 1970; 0 for None."""
    if not modified:
        return 0
    if modified.endswith("Z"):
        return (datetime.fromisoformat(modified) - _EPOCH) // timedelta(microseconds=1)
    seconds, _, rest = modified.partition(".")
    return int(seconds) * 1_000_000 + int(rest)
