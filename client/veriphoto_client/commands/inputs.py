"""Finds the photos that ``veriphoto predict`` is given: files, folders, globs, lists and standard input."""

from __future__ import annotations

import csv
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto.errors import ImageError, MissingExtraError, UsageError
from veriphoto_client.scan.pictures import URI_COLUMNS, begins_picture, may_be_picture
from veriphoto_client.scan.walk import walk

STDIN: Final = "-"
_LISTS: Final = (".parquet", ".csv.gz")
"""Suffixes of lists that pyarrow reads."""
_WILD: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Picture:
    """One photo to score."""

    name: str
    """Its path, or ``-``."""
    data: bytes | None = None
    """Its bytes, if it came from standard input."""
    error: ImageError | None = None
    """Set if this is a folder that could not be listed."""

    @property
    def image(self) -> bytes | str:
        """The photo in the form that a detector takes."""
        return self.name if self.data is None else self.data


def pictures(arguments: Iterable[str], stdin: BinaryIO) -> Iterator[Picture]:
    """Finds photos.

    Args:
        arguments: Files; folders, walked recursively; globs (``**`` crosses folders); ``.csv`` and ``.parquet`` files
            with a column ``path``, ``uri`` or ``url``; ``-`` for standard input.
        stdin: Standard input, which holds a photo or one path per line.

    Yields:
        The photos, as they are found. A file that is named is always yielded; in folders and globs, files that are not
        photos are skipped.

    Raises:
        UsageError: If a glob matches nothing, or a list cannot be read.
    """
    for argument in arguments:
        if argument == STDIN:
            yield from _standard_input(stdin)
        elif os.path.isdir(argument):  # noqa: PTH112
            yield from _folder(argument)
        elif argument.lower().endswith(".csv"):
            yield from _csv(Path(argument))
        elif argument.lower().endswith(_LISTS):
            yield from _by_pyarrow(argument)
        elif _WILD.isdisjoint(argument) or os.path.lexists(argument):
            yield Picture(argument)
        else:
            yield from _glob(argument)


def _folder(path: str) -> Iterator[Picture]:
    for found in walk([Path(path)]):
        if found.error is not None or may_be_picture(found.path):
            yield Picture(found.path, error=found.error)


def _glob(pattern: str) -> Iterator[Picture]:
    matched = False
    for path in glob.iglob(pattern, recursive=True):  # noqa: PTH207  lazily
        matched = True
        if not os.path.isdir(path) and may_be_picture(path):  # noqa: PTH112
            yield Picture(path)
    if not matched:
        raise UsageError(f"nothing matches {pattern}; check the pattern and the folder")


def _standard_input(stdin: BinaryIO) -> Iterator[Picture]:
    head = stdin.read(16)
    if begins_picture(head) or not _is_text(head):
        yield Picture(STDIN, head + stdin.read(MAX_FILE_BYTES + 1))
        return
    for line in chain((head + stdin.readline()).splitlines(), stdin):
        if path := os.fsdecode(line.rstrip(b"\r\n")):
            yield Picture(path)


def _is_text(head: bytes) -> bool:
    return not any(byte < 32 and byte not in b"\t\r\n" for byte in head)


def _csv(path: Path) -> Iterator[Picture]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            names = [name.strip().lower() for name in next(rows, [])]
            column = next((names.index(name) for name in URI_COLUMNS if name in names), None)
            if column is None:
                raise UsageError(f"{path} has none of the columns {', '.join(URI_COLUMNS)}; name the pictures' so")
            for row in rows:
                if len(row) > column and row[column]:
                    yield Picture(os.path.join(path.parent, row[column]))  # noqa: PTH118  an absolute one stays so
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the list {path} cannot be read: {error}; give a CSV or Parquet file") from error


def _by_pyarrow(path: str) -> Iterator[Picture]:
    try:
        from veriphoto_client.sources.manifests import read_manifest  # noqa: PLC0415  pyarrow is an extra
        from veriphoto_client.sources.places import place  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("ray", error.name) from error
    for found in read_manifest(place(path)):
        yield Picture(found.path, error=found.error)
