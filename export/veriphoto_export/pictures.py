"""Finds pictures in folders."""

from __future__ import annotations

from pathlib import Path

from veriphoto.contract import SUFFIXES
from veriphoto.errors import UsageError


def find_pictures(folder: Path) -> list[Path]:
    """Lists the pictures under a folder by their suffixes, in a fixed order.

    Raises:
        UsageError: If ``folder`` is not a directory.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name one with photos")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
