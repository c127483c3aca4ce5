"""Remembers which files an output holds, and how each of them was when its row was written."""

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
    """What an output says about a file that was found."""

    NEW = "new"
    FAILED = "again after a failure"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class Earlier:
    """Which files an output already holds, at 16 bytes a file."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Takes in the rows; where two are of one file, the later one counts."""
        keys, states = array("Q"), array("Q")
        for row in rows:
            keys.append(file_key(row.path))
            states.append(_FAILED if row.error else row.stamp.number if row.stamp else _WITHOUT_STAMP)
        order = np.argsort(np.asarray(keys, dtype=np.uint64), kind="stable")
        ordered = np.asarray(keys, dtype=np.uint64)[order]
        last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
        self._keys = ordered[last]
        self._states = np.asarray(states, dtype=np.uint64)[order][last]
        self.superseded = len(ordered) - len(self._keys)
        """Rows behind which there is another one of the same file: a killed scan left them."""
        self.failed = int(np.count_nonzero(self._states == _FAILED))
        """Files whose row holds an error."""
        self.older = False
        """Whether the output is of the layout without sizes and times."""

    def __len__(self) -> int:
        return len(self._keys)

    def standing(self, path: str, stamp: Stamp) -> Standing:
        """Says what is known about a file.

        Args:
            path: As found.
            stamp: As it is now.
        """
        if not len(self._keys):
            return Standing.NEW
        key = np.uint64(file_key(path))
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or self._keys[at] != key:
            return Standing.NEW
        state = int(self._states[at])
        if state == _FAILED:
            return Standing.FAILED
        return Standing.UNCHANGED if stamp and state == stamp.number else Standing.CHANGED


def read_earlier(path: Path, file: BinaryIO) -> Earlier:
    """Reads an output and cuts off a torn last row.

    Args:
        path: Its path, whose ending names the format.
        file: The same, open for reading and writing; left at its end.

    Returns:
        What it holds.

    Raises:
        UsageError: If it is not an output of ``veriphoto scan``, which is then left as it is.
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
    """Returns 64 bits that stand for a file, whatever folder the scan was started in and however it was named.

    Of ten million files, the chance that any two share a key is one in 400,000.

    Args:
        path: As found or as in a row. Links to folders on the way are followed; the last name, a link or not, counts.
    """
    folder, name = os.path.split(printable(os.path.abspath(path)))  # noqa: PTH100  Path.resolve would follow all links
    whole = f"{_real(folder)}\0{name}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "big")


@lru_cache(maxsize=16384)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
