"""The row of a catalogue scan, and the table of a part file."""

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
    """Hash of the input's bytes; None if they could not be read."""
    model_sha256: str
    """Hash of the graph that scored it."""
    retries: int = 0
    """Attempts to read it after the first."""
    duplicate: bool = False
    """Whether the score was copied from another input with the same bytes."""

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
    """Returns the table of a part file, given the values of each row by column; missing columns are null."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)
