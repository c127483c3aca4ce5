"""The row of a catalogue, and the table that a part file is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from veriphoto_client.scan.rows import Row

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("verdict", pa.dictionary(pa.int8(), pa.string())),
        ("probability", pa.float64()),
        ("confidence", pa.dictionary(pa.int8(), pa.string())),
        ("model_version", pa.int32()),
        ("error", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.string()),
        ("sha256", pa.string()),
        ("model_sha256", pa.dictionary(pa.int8(), pa.string())),
        ("retries", pa.int16()),
        ("duplicate", pa.bool_()),
    ]
)
"""Columns of a part file: those of ``veriphoto scan``, then those that only a catalogue has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueRow:
    """One input's row."""

    row: Row
    sha256: str | None
    """Of the input's bytes; None where they could not be read."""
    model_sha256: str
    """Of the graph that scored."""
    retries: int = 0
    """Attempts at reading after the first."""
    duplicate: bool = False
    """Whether the score is that of another input with the same bytes."""

    def values(self) -> dict[str, Any]:
        """Returns the values by column."""
        return {
            **asdict(self.row),
            "sha256": self.sha256,
            "model_sha256": self.model_sha256,
            "retries": self.retries,
            "duplicate": self.duplicate,
        }


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Makes a part file's table of values by column; columns that are not there are null."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)
