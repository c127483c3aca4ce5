"""Files that readers find whole or not at all."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Does what ``replace_bytes`` does with text, in UTF-8."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Writes a file under another name first, then renames; any number of threads and processes may do so at once.

    Args:
        path: The file; its folder is made where there is none. Where it is a link, what it leads to is written. A
            device or pipe, such as ``/dev/stdout``, is written to and stays what it is.
        data: Its content.
        durable: Wait until the disk has it.

    Raises:
        OSError: If the disk refuses; what was there before is left.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        path.write_bytes(data)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{threading.get_native_id()}")
    try:
        fresh.write_bytes(data)
        if durable:
            flush(fresh)
        fresh.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()


def flush(path: Path) -> None:
    """Waits until the disk has a file, or the names in a folder.

    Raises:
        OSError: If the disk refuses.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
