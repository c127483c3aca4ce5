"""Finds the inputs of a plan that are new or have changed since their rows were written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from veriphoto_client.catalogue.plan import Unit
from veriphoto_client.catalogue.rows import SCHEMA
from veriphoto_client.scan.resume import Standing
from veriphoto_client.scan.rows import printable
from veriphoto_client.scan.stamps import UNKNOWN, Stamp, microseconds, stamp_of, utc
from veriphoto_client.scan.walk import Found
from veriphoto_client.sources import storage
from veriphoto_client.sources.places import Place, is_uri, place

_ENTRY: Final = np.dtype([("key", "u8"), ("size", "i8"), ("modified", "i8")])
_NONE: Final = -1


class Listing:
    """The current stamp of every input of a source, at 24 bytes each."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[Any]] = []
        self._new: list[tuple[int, int, int]] = []

    def noting(self, found: Iterable[Found]) -> Iterator[Found]:
        """Yields the inputs unchanged, and remembers their stamps."""
        for one in found:
            stamp = one.stamp or local_stamp(one.path)
            size = _NONE if stamp.size is None else stamp.size
            self._new.append((_key(printable(one.path)), size, microseconds(stamp.modified) if stamp else 0))
            if len(self._new) == 100_000:
                self._flush()
            yield one

    def sort(self) -> None:
        """Ends the listing; call it before ``stamp``."""
        self._flush()
        entries = np.concatenate(self._parts)
        self._parts = [entries[np.argsort(entries["key"], kind="stable")]]

    def stamp(self, path: str) -> Stamp | None:
        """Returns the current stamp of an input.

        Args:
            path: The input's path or URI as its row holds it.

        Returns:
            The stamp; ``UNKNOWN`` if the source has none, None if the input is no longer in the source.
        """
        (entries,) = self._parts
        key = np.uint64(_key(path))
        at = int(np.searchsorted(entries["key"], key))
        if at == len(entries) or entries["key"][at] != key:
            return None
        size, modified = int(entries["size"][at]), int(entries["modified"][at])
        return UNKNOWN if size == _NONE else Stamp(size, utc(1000 * modified))

    def _flush(self) -> None:
        self._parts.append(np.array(self._new, dtype=_ENTRY))
        self._new = []


@dataclass(kw_only=True, slots=True)
class Todo:
    """The units to score, and why."""

    units: list[Unit] = field(default_factory=list)
    standings: Counter[Standing] = field(default_factory=Counter)
    """Number of inputs to score, by the reason."""
    unchanged: int = 0
    """Number of inputs whose row is kept."""
    failed_elsewhere: int = 0
    """Number of rows with an error whose input is no longer in the source."""


def find_todo(output: Place, units: Iterable[Unit], done: set[tuple[int, int]], now: Listing, *, force: bool) -> Todo:
    """Finds the units and inputs to score.

    Args:
        output: The output.
        units: All units of its plan.
        done: Shard and index of the units whose part file exists.
        now: The current stamps of the source's inputs.
        force: Whether to score all inputs of the source again.
    """
    todo = Todo()
    for unit in units:
        if (unit.shard, unit.index) not in done:
            todo.units.append(unit)
            todo.standings[Standing.NEW] += unit.rows
            continue
        again = {}
        for position, (stamp, standing) in enumerate(_standings(output.child(*unit.part), now, todo)):
            if stamp is not None and (force or standing is not Standing.UNCHANGED):
                again[position] = stamp
                todo.standings[standing] += 1
            elif stamp is not None:
                todo.unchanged += 1
        if again:
            todo.units.append(replace(unit, again=again))
    return todo


def read_part(part: Place, columns: Sequence[str] = tuple(SCHEMA.names)) -> list[dict[str, Any]]:
    """Reads the values of a part file's rows.

    Args:
        part: The part file. In the older layout without stamps, each row gets no size, and the part file's own time:
            the row is valid for an input that was not modified later.
        columns: Names of the columns to read.
    """
    with storage.open_parquet(part) as file:
        names = file.schema_arrow.names
        rows: list[dict[str, Any]] = file.read(columns=[name for name in columns if name in names]).to_pylist()
    if "size" in names:
        return rows
    written = utc(storage.modified_ns(part))
    return [{**row, "size": None, "modified": written} for row in rows]


def _standings(part: Place, now: Listing, todo: Todo) -> Iterator[tuple[Stamp | None, Standing]]:
    for row in read_part(part, ("path", "error", "size", "modified")):
        stamp = now.stamp(row["path"])
        if row["error"]:
            todo.failed_elsewhere += stamp is None
            yield stamp, Standing.FAILED
        elif not stamp or _same(stamp, row):
            yield stamp, Standing.UNCHANGED
        else:
            yield stamp, Standing.CHANGED


def _same(stamp: Stamp, row: dict[str, Any]) -> bool:
    if row["size"] is None:  # a list of URIs tells neither size nor time: nothing to compare
        return row["modified"] is None or (stamp.modified or "") <= row["modified"]
    return stamp == Stamp(row["size"], row["modified"])


def local_stamp(path: str) -> Stamp:
    """Returns the stamp of a local input; ``UNKNOWN`` for others."""
    if is_uri(path) and not path.startswith("file://"):
        return UNKNOWN
    return stamp_of(place(path).path)


def _key(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")
