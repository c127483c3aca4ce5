"""What a promotion or rollback was doing, so that the next command can finish or undo it after a kill."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import ModelError
from veriphoto.files import flush

JOURNAL_FILE: Final = ".journal.json"
"""Beside the version directories: it speaks of them, and a repository that is moved takes it along."""

_FIELDS: Final = {"action", "model", "version", "previous", "proven"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One unfinished change of the repository."""

    action: str
    """``promote`` or ``rollback``."""
    model: int
    """Number in the registry."""
    version: int
    """Served version being made."""
    previous: int | None
    """Served version before it."""
    proven: bool
    """Triton serves it and scored the golden pictures right: from here on it is finished, before that undone."""


def read(repository: Path) -> Entry | None:
    """Reads the journal.

    Args:
        repository: A Triton model repository.

    Returns:
        The unfinished change, or None.

    Raises:
        ModelError: If the file is not what ``write`` writes.
    """
    path = _path(repository)
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}; look at the versions beside it, then remove it") from error
    if not isinstance(body, dict) or set(body) != _FIELDS:
        raise ModelError(f"{path} is of another release; finish with that release, or remove it")
    return Entry(**body)


def write(repository: Path, entry: Entry) -> None:
    """Writes the journal, whole and flushed to the disk before it returns.

    Raises:
        ModelError: If the disk refuses.
    """
    path = _path(repository)
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(asdict(entry), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        flush(path.parent)
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}; nothing was published") from error


def clear(repository: Path) -> None:
    """Removes the journal: the change is finished or undone.

    Raises:
        ModelError: If the disk refuses.
    """
    path = _path(repository)
    try:
        path.unlink(missing_ok=True)
        flush(path.parent)
    except OSError as error:
        raise ModelError(f"cannot remove {path}: {error.strerror or error}") from error


def _path(repository: Path) -> Path:
    return repository / CLASSIFIER / JOURNAL_FILE
