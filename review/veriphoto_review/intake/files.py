"""Reads rows of a CSV, JSON-lines or Parquet file, or of a folder of Parquet files, a batch at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from veriphoto.errors import DataError, MissingExtraError, UsageError
from veriphoto.foreign_json import parse

if TYPE_CHECKING:
    from veriphoto_client.sources.places import Place

BATCH: Final = 5000
_LONGEST_FIELD: Final = 1_000_000
SUFFIXES: Final = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of one file."""

    name: str
    first: int
    """Number of the first row in the file, counted as an editor counts its lines."""
    rows: list[Any]
    """Dictionaries; anything else is reported as a bad row."""
    written: float | None
    """When the file was written, for rows that have no time of their own."""


def batches(source: str, size: int = BATCH) -> Iterator[Batch]:
    """Reads a source.

    Args:
        source: A file, or the output folder of ``veriphoto scan --engine ray``; for Parquet a URI too.
        size: Rows of a batch.

    Yields:
        Its rows, in order.

    Raises:
        UsageError: If it is none of these.
        DataError: If it cannot be read to the end; what came before has been yielded.
    """
    suffix = Path(source).suffix.lower()
    if suffix in (".csv", ".jsonl") and "://" not in source:
        yield from _text(Path(source), suffix, size)
    elif suffix in (".parquet", ""):
        yield from _parquet(source, size)
    else:
        raise UsageError(f"{source}: give a file that ends in {', '.join(SUFFIXES)}, or the folder of a scan")


def _text(path: Path, suffix: str, size: int) -> Iterator[Batch]:
    try:
        written = path.stat().st_mtime
        with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
            rows = _csv_rows(path, file) if suffix == ".csv" else _json_rows(file)
            first = 2 if suffix == ".csv" else 1
            while some := list(islice(rows, size)):
                yield Batch(path.name, first, some, written)
                first += len(some)
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}; repair it and import again; nothing counts twice") from error


def _csv_rows(path: Path, file: TextIO) -> Iterator[Any]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.DictReader(file, strict=True)  # or a quote that never closes would swallow the rows behind it
    if "verdict" not in (reader.fieldnames or ()):
        raise DataError(f"{path} has no column 'verdict'; import what `veriphoto scan` or the gateway answered")
    yield from reader


def _json_rows(file: TextIO) -> Iterator[Any]:
    for line in file:
        if line.strip():
            try:
                yield parse(line)
            except ValueError:
                yield line.strip()[:80]


def _parquet(source: str, size: int) -> Iterator[Batch]:
    try:
        from pyarrow import ArrowException  # noqa: PLC0415 - only Parquet needs it

        from veriphoto_client.sources.places import place  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("review", error.name) from error
    try:
        for part in _parts(place(source), source):
            yield from _rows(part, size)
    except (OSError, ArrowException) as error:
        raise DataError(
            f"{source} cannot be read: {error}; repair it and import again; nothing counts twice"
        ) from error


def _parts(root: Place, source: str) -> list[Place]:
    from pyarrow.fs import FileType  # noqa: PLC0415

    from veriphoto_client.sources import storage  # noqa: PLC0415

    kind = root.system.get_file_info(root.path).type
    if kind == FileType.NotFound:
        raise DataError(f"there is no {source}; name a file or the folder of a scan")
    if kind == FileType.File:
        return [root]
    names = [name for name in storage.files(root, recursive=True) if name.endswith(".parquet")]
    # Names that begin with _ are the scan's own: its plan, its state.
    parts = [root.child(name) for name in names if not any(each.startswith("_") for each in name.split("/"))]
    if not parts:
        raise DataError(f"there are no Parquet files of a scan in {source}")
    return parts


def _rows(part: Place, size: int) -> Iterator[Batch]:
    from pyarrow import parquet  # noqa: PLC0415

    written = _seconds(part.system.get_file_info(part.path).mtime)
    with part.system.open_input_file(part.path) as stream:
        file = parquet.ParquetFile(stream)
        if "verdict" not in file.schema_arrow.names:
            raise DataError(f"{part.uri(part.path)} has no column 'verdict'; name the output of a scan")
        first = 1
        for batch in file.iter_batches(batch_size=size):
            rows = batch.to_pylist()
            yield Batch(part.path.rpartition("/")[2], first, rows, written)
            first += len(rows)


def _seconds(moment: datetime | None) -> float | None:
    return moment.astimezone(UTC).timestamp() if moment else None
