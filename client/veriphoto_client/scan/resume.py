"""Remembers which files an output holds, with the size and time of each when its row was written."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from veriphoto_client.scan.readers import foreign, reader
from veriphoto_client.scan.rows import Row, printable
from veriphoto_client.scan.stamps import Stamp

_TORN_BYTES: Final = 64 * 1024
"""More than the longest possible row: a longer unreadable end is not a torn row, and is not thrown away."""
_WITHOUT_STAMP: Final = 0
_FAILED: Final = 1


class Standing(StrEnum):
    """The state of a file compared with its row in the output."""

    NEW = "new"
    FAILED = "again after a failure"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class Earlier:
    """The files that an output already holds, at 20 bytes per file."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Indexes the rows. If a file has several, the last one counts."""
        keys, states, versions = array("Q"), array("Q"), array("I")
        numbers: dict[int | None, int] = {}
        for row in rows:
            keys.append(file_key(row.path))
            states.append(_FAILED if row.error else row.stamp.number if row.stamp else _WITHOUT_STAMP)
            versions.append(numbers.setdefault(row.model_version, len(numbers)))
        order = np.argsort(np.asarray(keys, dtype=np.uint64), kind="stable")
        ordered = np.asarray(keys, dtype=np.uint64)[order]
        last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
        self._keys = ordered[last]
        self._states = np.asarray(states, dtype=np.uint64)[order][last]
        self._versions = np.asarray(versions, dtype=np.uint32)[order][last]
        self._numbers = tuple(numbers)
        self.superseded = len(ordered) - len(self._keys)
        """Rows that a later row of the same file supersedes; a killed scan has left them."""
        self.failed = int(np.count_nonzero(self._states == _FAILED))
        """Files whose row holds an error."""
        self.older = False
        """Whether the output has the older layout, without sizes and times."""

    def __len__(self) -> int:
        return len(self._keys)

    def standing(self, path: str, stamp: Stamp) -> Standing:
        """Returns the state of a file compared with its row.

        Args:
            path: Path of the file, as the walk found it.
            stamp: Size and time of the file now.
        """
        return self.look_up(path, stamp)[0]

    def look_up(self, path: str, stamp: Stamp) -> tuple[Standing, int | None]:
        """Returns the state of a file compared with its row, and the model version of that row; see ``standing``."""
        if not len(self._keys):
            return Standing.NEW, None
        key = np.uint64(file_key(path))
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or self._keys[at] != key:
            return Standing.NEW, None
        state, version = int(self._states[at]), self._numbers[self._versions[at]]
        if state == _FAILED:
            return Standing.FAILED, version
        return (Standing.UNCHANGED if stamp and state == stamp.number else Standing.CHANGED), version


def read_earlier(path: Path, file: BinaryIO) -> Earlier:
    """Reads an output and cuts off an incomplete last row.

    Args:
        path: Its path, whose suffix tells the format.
        file: The same file, open for reading and writing; it is left at its end.

    Returns:
        The files that it holds.

    Raises:
        UsageError: If it is not an output of ``veriphoto scan``; it is then left unchanged.
    """
    _real.cache_clear()  # links may have been changed since an earlier scan of this process
    reading = reader(path, file)
    earlier = Earlier(reading.rows())
    earlier.older = reading.older
    size = file.seek(0, os.SEEK_END)
    if size - reading.good > _TORN_BYTES:
        raise foreign(path)
    file.truncate(reading.good)
    file.seek(0, os.SEEK_END)
    return earlier


def file_key(path: str) -> int:
    """Returns a 64-bit hash of a file's path, whatever the working directory and however the path was written.

    Of ten million files, the chance that any two share a key is one in 400,000.

    Args:
        path: Path as the walk found it or as a row holds it. Links to folders in it are followed, a link at its end is
            not.
    """
    folder, name = os.path.split(printable(os.path.abspath(path)))  # noqa: PTH100  Path.resolve would follow all links
    whole = f"{_real(folder)}\0{name}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "big")


@lru_cache(maxsize=16384)
def _real(folder: str) -> str:
    try:
        return os.path.realpath(folder)
    except ValueError:  # a NUL, in a row that no scan has written
        return folder
