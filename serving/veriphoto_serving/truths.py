"""What is known about sample photos: ``samples.csv`` beside them, one line a photo."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veriphoto.contract import CONTRACT
from veriphoto.errors import UsageError

TRUTHS_FILE: Final = "samples.csv"
_MARKS: Final = {"": False, "no": False, "yes": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What is known about one photo."""

    label: str
    """``real`` or ``ai_generated``."""
    hardest: bool
    """Whether it is of the kinds that detectors miss: listed apart."""
    held_out: bool
    """Whether no photo of its object was in any training or fit; others of its source may have been."""


def read_truths(directory: Path) -> dict[str, Truth]:
    """Reads what is known about the photos of a folder.

    Args:
        directory: The folder.

    Returns:
        It, by file name; empty where the folder has no table.

    Raises:
        UsageError: If the table cannot be read, naming the line.
    """
    path = directory / TRUTHS_FILE
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            return {row["file"]: _truth(row, f"{path}, line {rows.line_num}") for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise UsageError(
            f"{path} cannot be read ({type(error).__name__}: {error}); its columns are file, label, hardest and "
            "held_out, and any others"
        ) from error


def _truth(row: dict[str, str], where: str) -> Truth:
    label = (row["label"] or "").strip()
    if label not in CONTRACT.labels:
        raise UsageError(f"{where}: label '{label}'; write {' or '.join(CONTRACT.labels)}")
    return Truth(label=label, hardest=_mark(row, "hardest", where), held_out=_mark(row, "held_out", where))


def _mark(row: dict[str, str], column: str, where: str) -> bool:
    text = (row.get(column) or "").strip().lower()
    if text not in _MARKS:
        raise UsageError(f"{where}: {column} '{text}'; write yes, or leave it empty")
    return _MARKS[text]
