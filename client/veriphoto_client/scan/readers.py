"""Reads the rows of an output, up to a last row that a kill may have cut off."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from veriphoto.errors import UsageError
from veriphoto.foreign_json import parse
from veriphoto_client.scan.rows import COLUMNS, COLUMNS_WITHOUT_STAMP, Row

_TYPES: Final[dict[str, Any]] = {
    "path": str,
    "verdict": str | None,
    "probability": float | int | None,
    "confidence": str | None,
    "model_version": int | None,
    "error": str,
    "size": int | None,
    "modified": str | None,
}
"""What JSON may hold as each field of a row."""


class Reader(Protocol):
    """Reads an output once, from its start."""

    good: int
    """Offset of the end of the last row yielded, where the next one begins."""
    start: int
    """Offset of the first row."""
    older: bool
    """Whether it has the older layout, without sizes and times."""

    def rows(self) -> Iterator[Row]:
        """Yields whole rows, in order.

        Raises:
            UsageError: If it is not an output of ``veriphoto scan``.
        """
        ...


def reader(path: Path, file: BinaryIO) -> Reader:
    """Returns a reader of an output.

    Args:
        path: Its path, whose suffix tells the format.
        file: The same file, open for reading.
    """
    file.seek(0)
    return _CsvReader(path, file) if path.suffix.lower() == ".csv" else _JsonReader(path, file)


def foreign(path: Path) -> UsageError:
    """Returns the error for a file that is not the output of a scan."""
    return UsageError(f"{path} is no output of `veriphoto scan`, or is damaged; name another file with --output")


class _CsvReader:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._read = 0
        self._whole = True
        self.good = self.start = 0
        self.older = False

    def rows(self) -> Iterator[Row]:
        # A name may hold line feeds, so only the CSV parser knows where a row ends; it asks for one line at a time.
        records = csv.reader(self._lines(), strict=True)
        columns: tuple[str, ...] = COLUMNS
        try:
            for number, record in enumerate(records):
                if not self._whole:
                    return
                if number == 0 and tuple(record) == COLUMNS_WITHOUT_STAMP:
                    self.older, columns = True, COLUMNS_WITHOUT_STAMP
                if len(record) != len(columns) or (number == 0 and tuple(record) != columns):
                    raise foreign(self._path)
                self.good = self._read
                if number:
                    yield self._row(record)
                else:
                    self.start = self.good
        except csv.Error:  # a quote that never closes: torn inside a name
            return

    def _row(self, record: Sequence[str]) -> Row:
        path, verdict, probability, confidence, version, error, *stamp = record
        size, modified = stamp or ("", "")
        try:
            return Row(
                path=path,
                verdict=verdict or None,
                probability=float(probability) if probability else None,
                confidence=confidence or None,
                model_version=int(version) if version else None,
                error=error,
                size=int(size) if size else None,
                modified=modified or None,
            )
        except ValueError as problem:
            raise foreign(self._path) from problem

    def _lines(self) -> Iterator[str]:
        for line in self._file:
            self._read += len(line)
            self._whole = line.endswith(b"\n")
            yield line.decode("utf-8", "replace")


class _JsonReader:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self.good = self.start = 0
        self.older = False

    def rows(self) -> Iterator[Row]:
        for line in self._file:
            if not line.endswith(b"\n"):
                return
            record = self._parse(line)
            self.good += len(line)
            yield Row(**record)

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            record = parse(line)
        except ValueError as problem:
            raise foreign(self._path) from problem
        fields = set(record) if isinstance(record, dict) else set()
        self.older = self.older or fields == set(COLUMNS_WITHOUT_STAMP)
        if fields not in (set(COLUMNS), set(COLUMNS_WITHOUT_STAMP)) or not (
            all(isinstance(value, _TYPES[name]) for name, value in record.items())
        ):
            raise foreign(self._path)
        return dict(record)
