"""Rewrites an output whole or not at all: upgrades an older layout, and keeps one row per file."""

from __future__ import annotations

import os
import shutil
from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from veriphoto_client.scan.readers import reader
from veriphoto_client.scan.resume import file_key
from veriphoto_client.scan.rows import Format, Row
from veriphoto_client.scan.stamps import stamp_of, utc

_CHUNK: Final = 1 << 20


def upgrade(path: Path, file: BinaryIO, form: Format) -> None:
    """Rewrites an output of the older layout in the current one, under the same name.

    A row with an absolute path gets the size and time of its file, unless that was modified after the output was. A
    relative path stays as it is: nobody knows what it was relative to, so its file will be scored again.

    Args:
        path: The output.
        file: The same file, open for reading, without an incomplete last row.
        form: Its format.

    Raises:
        OSError: If it cannot be written; it is then unchanged.
    """
    written = utc(os.fstat(file.fileno()).st_mtime_ns)

    def write(to: BinaryIO) -> None:
        to.write(form.header.encode())
        for row in reader(path, file).rows():
            to.write(form.line(_stamped(row, written)).encode())

    _replace(path, write)


def settle(path: Path, file: BinaryIO, listed: Collection[int]) -> None:
    """Removes rows that later ones replace.

    Args:
        path: The output.
        file: The same file, open for reading.
        listed: Keys of folders that could be listed now; rows that say otherwise are removed.

    Raises:
        OSError: If it cannot be written; it is then unchanged.
    """
    reading = reader(path, file)
    keys, answers, ends, flags = array("Q"), array("q"), array("Q"), array("B")
    for row in reading.rows():
        keys.append(file_key(row.path))
        answers.append(hash((row.verdict, row.probability, row.model_version)))
        ends.append(reading.good)
        over = bool(row.error) and keys[-1] in listed
        flags.append(_OVER if over else _NAMELESS if not os.path.isabs(row.path) and not row.error else 0)  # noqa: PTH117
    keep = _kept(np.asarray(keys), np.asarray(answers), np.asarray(flags))
    if keep.all():
        return
    bounds = [reading.start, *ends]

    def write(to: BinaryIO) -> None:
        file.seek(0)
        to.write(file.read(reading.start))
        for first, end in _runs(keep):
            _copy(file, to, bounds[first], bounds[end])

    _replace(path, write)


_OVER: Final = 1
_NAMELESS: Final = 2
"""A verdict under a relative path, which may be about another file than the one that has this path today."""


def _kept(keys: npt.NDArray[Any], answers: npt.NDArray[Any], flags: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.append(keys[order][1:] != keys[order][:-1], True)) if len(keys) else order
    last = np.empty_like(order)  # of the rows of the same file
    last[order] = np.repeat(order[ends], np.diff(ends, prepend=-1))
    newest = last == np.arange(len(keys))
    another = (flags == _NAMELESS) & (answers != answers[last])
    kept: npt.NDArray[np.bool_] = (newest | another) & (flags != _OVER)
    return kept


def _runs(keep: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(keep.astype(np.int8), prepend=0, append=0))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _copy(file: BinaryIO, to: BinaryIO, start: int, end: int) -> None:
    file.seek(start)
    while start < end:
        chunk = file.read(min(_CHUNK, end - start))
        to.write(chunk)
        start += len(chunk)


def _stamped(row: Row, written: str) -> Row:
    if not os.path.isabs(row.path):  # noqa: PTH117
        return row
    stamp = stamp_of(row.path)
    if not stamp or (stamp.modified or "") > written:
        return row
    return replace(row, size=stamp.size, modified=stamp.modified)


def _replace(path: Path, write: Callable[[BinaryIO], None]) -> None:
    target = Path(os.path.realpath(path))
    # A fixed name, so that the next run overwrites what a killed one has left.
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
