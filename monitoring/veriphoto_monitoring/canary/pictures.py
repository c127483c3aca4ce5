"""Finds the canaries on disk: pictures with known labels."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veriphoto.contract import SUFFIXES
from veriphoto.errors import DataError
from veriphoto_monitoring.canary.verdict import MEASURES, Truth

MANIFEST: Final = "manifest.csv"


@dataclass(frozen=True, slots=True)
class Canary:
    """One picture."""

    path: Path
    truth: Truth
    group: str
    """Generator of an AI-generated picture, or source of a photo."""


def find(directory: Path) -> list[Canary]:
    """Lists the canaries of a folder.

    A ``manifest.csv``, if there is one, has the columns ``path`` (relative to the folder), ``label`` (``ai`` or
    ``real``), ``source`` and, for AI-generated pictures, ``generator``. Otherwise the folders say it:
    ``ai/<generator>/``, ``real/<source>/``.

    Args:
        directory: The folder.

    Returns:
        The pictures, in a fixed order.

    Raises:
        DataError: If there are no pictures, or the manifest cannot be read.
    """
    manifest = directory / MANIFEST
    found = _listed(manifest) if manifest.is_file() else _laid_out(directory)
    if not found:
        raise DataError(f"there are no canaries in {directory}: put pictures under ai/GENERATOR/ and real/SOURCE/")
    return found


def _laid_out(directory: Path) -> list[Canary]:
    return [
        Canary(path, truth, path.relative_to(directory / truth).parts[0])
        for truth in MEASURES
        for path in sorted((directory / truth).glob("*/**/*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]


def _listed(manifest: Path) -> list[Canary]:
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            return [_row(manifest.parent, row) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(f"{manifest} cannot be read: {error!r}; it needs path, label, source, generator") from error


def _row(directory: Path, row: dict[str, str]) -> Canary:
    truth, group = row["label"], row["source"]
    if truth not in MEASURES:
        raise DataError(f"{MANIFEST}: label {truth!r} of {row['path']} is neither ai nor real")
    if truth == "ai":
        group = row.get("generator") or group
    return Canary(directory / row["path"], truth, group)
