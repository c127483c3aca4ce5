"""The plan of a scan: every input once, divided into units, written before the first photo is scored.

A unit holds the inputs of one part file. Units never change once they are written: a unit that is scored twice (because
its node died, or a killed scan is continued) writes the same rows under the same name, so nothing is lost or counted
twice. New inputs of a source become new units at the end; inputs that failed or have changed are scored again in their
place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from veriphoto.errors import UnreadableFileError
from veriphoto_client.catalogue.keys import KeySet
from veriphoto_client.scan.stamps import UNKNOWN, Stamp
from veriphoto_client.scan.walk import Found
from veriphoto_client.sources import storage
from veriphoto_client.sources.places import Place

UNITS_PER_SHARD: Final = 100
"""Row groups of a plan file, and so part files of a folder."""
_FOLDER: Final = "_plan"  # readers of Parquet folders ignore names that begin with an underscore
_NAME: Final = re.compile(r"plan-(\d+)\.parquet")
_PART: Final = re.compile(r"shard=(\d+)/part-(\d+)\.parquet")
# File names are bytes: one that is not UTF-8 must still open.
_SCHEMA: Final = pa.schema(
    [("input", pa.binary()), ("error", pa.string()), ("size", pa.int64()), ("modified", pa.string())]
)


@dataclass(frozen=True, slots=True)
class Unit:
    """The inputs of one part file."""

    shard: int
    index: int
    rows: int
    again: Mapping[int, Stamp] = field(default_factory=dict, compare=False)
    """If the part file exists already: the positions of the inputs to score again, with their current stamps."""

    @property
    def todo(self) -> int:
        """Number of inputs to score."""
        return len(self.again) or self.rows

    @property
    def part(self) -> tuple[str, str]:
        """Folder and name of the part file, under the output."""
        return f"shard={self.shard:05}", f"part-{self.index:05}.parquet"

    def inputs(self, output: Place) -> list[Found]:
        """Reads the unit's inputs from the plan."""
        with _open(output, self.shard) as file:
            table = file.read_row_group(self.index)
        return [
            Found(
                os.fsdecode(row["input"]),
                UnreadableFileError(row["error"]) if row["error"] else None,
                stamp=Stamp(row.get("size"), row.get("modified")),
            )
            for row in table.to_pylist()
        ]


class Plan:
    """The units under an output."""

    def __init__(self, output: Place) -> None:
        self._output = output

    def extend(self, found: Iterable[Found], rows_per_unit: int) -> int:
        """Adds the inputs that are not in the plan yet.

        Args:
            found: All inputs of the source; inputs in the plan and repetitions are skipped.
            rows_per_unit: Number of inputs in a new unit.

        Returns:
            The number of new inputs.
        """
        keys = KeySet()
        shards = self._shards()
        for shard in shards:
            with _open(self._output, shard) as file:
                for batch in file.iter_batches(columns=["input"]):
                    keys.add_new([os.fsdecode(name) for name in batch.column(0).to_pylist()])
        before, shard = len(keys), max(shards, default=-1) + 1
        fresh = _fresh(found, keys)
        while units := list(islice(_units(fresh, rows_per_unit), UNITS_PER_SHARD)):
            storage.put_tables(_plan_file(self._output, shard), units)
            shard += 1
        return len(keys) - before

    def units(self) -> Iterator[Unit]:
        """Lists all units, in order."""
        for shard in self._shards():
            with _open(self._output, shard) as file:
                metadata = file.metadata
            for index in range(metadata.num_row_groups):
                yield Unit(shard, index, metadata.row_group(index).num_rows)

    def done(self) -> set[tuple[int, int]]:
        """Returns shard and index of the units whose part file exists."""
        names = storage.files(self._output, recursive=True)
        return {(int(found[1]), int(found[2])) for found in map(_PART.fullmatch, names) if found}

    def _shards(self) -> list[int]:
        names = storage.files(self._output.child(_FOLDER))
        return sorted(int(found[1]) for found in map(_NAME.fullmatch, names) if found)


def _plan_file(output: Place, shard: int) -> Place:
    return output.child(_FOLDER, f"plan-{shard:05}.parquet")


def _open(output: Place, shard: int) -> Any:
    return storage.open_parquet(_plan_file(output, shard))


def _fresh(found: Iterable[Found], keys: KeySet) -> Iterator[Found]:
    pending = iter(found)
    while some := list(islice(pending, 10_000)):
        new = keys.add_new([one.path for one in some])
        yield from (one for one, is_new in zip(some, new, strict=True) if is_new)


def _units(found: Iterator[Found], rows: int) -> Iterator[pa.Table]:
    while some := list(islice(found, rows)):
        inputs = [os.fsencode(one.path) for one in some]
        errors = [one.error.message if one.error else "" for one in some]
        stamps = [one.stamp or UNKNOWN for one in some]
        sizes, times = [stamp.size for stamp in stamps], [stamp.modified for stamp in stamps]
        yield pa.table({"input": inputs, "error": errors, "size": sizes, "modified": times}, schema=_SCHEMA)
