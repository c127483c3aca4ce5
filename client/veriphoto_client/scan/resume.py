"""Reads the output of an earlier run, mends what a kill tore, and remembers which files it holds."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import numpy as np

from veriphoto.errors import UsageError
from veriphoto_client.scan.rows import COLUMNS, printable

_TORN_BYTES: Final = 64 * 1024
"""More than the longest possible row: a longer unreadable end is not a torn row, and is not thrown away."""


class Earlier:
    """Which files an output already holds, at 8 bytes a file."""

    def __init__(self, paths: Iterator[tuple[str, bool]]) -> None:
        """Takes in the rows.

        Args:
            paths: For each row its path as written, and whether it failed.
        """
        keys = array("Q")
        self.failed = 0
        for path, failed in paths:
            keys.append(_key(path))
            self.failed += failed
        self._keys = np.sort(np.array(keys, dtype=np.uint64))

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, path: str) -> bool:
        """Says whether a file found has its row."""
        if not len(self._keys):
            return False
        key = np.uint64(_key(printable(path)))
        at = int(np.searchsorted(self._keys, key))
        return at < len(self._keys) and bool(self._keys[at] == key)


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
    reader: _Reader = _CsvReader(path, file) if path.suffix.lower() == ".csv" else _JsonReader(path, file)
    earlier = Earlier(reader.rows())
    size = file.seek(0, os.SEEK_END)
    if size - reader.good > _TORN_BYTES:
        raise _foreign(path)
    file.truncate(reader.good)
    file.seek(0, os.SEEK_END)
    return earlier


class _Reader(Protocol):
    good: int
    """Bytes up to the end of the last whole row."""

    def rows(self) -> Iterator[tuple[str, bool]]: ...


class _CsvReader:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._read = 0
        self._whole = True
        self.good = 0

    def rows(self) -> Iterator[tuple[str, bool]]:
        # A name may hold line feeds, so only the CSV parser knows where a row ends; it asks for one line at a time.
        records = csv.reader(self._lines(), strict=True)
        try:
            for number, record in enumerate(records):
                if not self._whole:
                    return
                if len(record) != len(COLUMNS) or (number == 0 and tuple(record) != COLUMNS):
                    raise _foreign(self._path)
                self.good = self._read
                if number:
                    yield record[0], bool(record[-1])
        except csv.Error:  # a quote that never closes: torn inside a name
            return

    def _lines(self) -> Iterator[str]:
        for line in self._file:
            self._read += len(line)
            self._whole = line.endswith(b"\n")
            yield line.decode("utf-8", "replace")


class _JsonReader:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self.good = 0

    def rows(self) -> Iterator[tuple[str, bool]]:
        for line in self._file:
            if not line.endswith(b"\n"):
                return
            record = self._parse(line)
            self.good += len(line)
            yield record["path"], bool(record["error"])

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise _foreign(self._path) from error
        if not isinstance(record, dict) or set(record) != set(COLUMNS):
            raise _foreign(self._path)
        return record


def _key(path: str) -> int:
    # Absolute, so that the same file is known under `photos`, `./photos` and the full path. Of ten million files, the
    # chance that any two share a key is one in 400,000.
    name = os.path.abspath(path).encode("utf-8", "surrogateescape")  # noqa: PTH100 (Path.resolve would follow links)
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")


def _foreign(path: Path) -> UsageError:
    return UsageError(f"{path} is no output of `veriphoto scan`, or is damaged; name another file with --output")
