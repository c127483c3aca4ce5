"""Folders that one process at a time may use."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def take_folder(path: Path) -> int | None:
    """Takes a folder for this process alone.

    Args:
        path: The folder.

    Returns:
        A handle, which gives the folder back when it is closed and at the latest when the process ends; None if
        somebody has the folder.

    Raises:
        OSError: If the folder cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def is_taken(path: Path) -> bool:
    """Tells whether somebody has taken a folder; one that cannot be opened is not."""
    try:
        handle = take_folder(path)
    except OSError:
        return False
    if handle is not None:
        os.close(handle)
    return handle is None
