"""Tells photos from other files in a folder, and finds the column of a list that names them."""

from __future__ import annotations

import os
import stat
from pathlib import PurePath
from typing import Final

SUFFIXES: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
        *(".heic", ".heics", ".heif", ".heifs", ".hif", ".avif", ".avifs", ".tif", ".tiff", ".jxl", ".jp2", ".jpx"),
        *(".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
    )
)
"""Endings that promise a picture, also of kinds that are not scored: such a file gets a row whatever it holds."""
URI_COLUMNS: Final = ("uri", "path", "url")
"""Columns that may hold the paths or URIs of a list; the first of these that the list has counts."""
_STARTS: Final = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cJXL ",
    b"\0\0\0\x0cjP  ",
)
_BRANDS: Final = frozenset((b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
_HEAD: Final = 16


def promises_picture(name: str) -> bool:
    """Tells whether a file's name ends as a picture's does."""
    return PurePath(name).suffix.lower() in SUFFIXES


def may_be_picture(path: str) -> bool:
    """Tells whether a file of a folder is to be scored: by its name, or else by its first bytes.

    Args:
        path: A path of this machine.

    Returns:
        True also for a file that cannot be read and so may be anything; never for pipes, devices and links that lead
        nowhere, unless their name is a picture's.
    """
    if promises_picture(path):
        return True
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  opening a pipe would wait for ever
            return False
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            head = file.read(_HEAD)
    except (FileNotFoundError, ValueError):
        return False
    except OSError:
        return True
    return begins_picture(head or b"")


def begins_picture(head: bytes) -> bool:
    """Tells whether a file's first 16 bytes are those of a picture, of any common kind."""
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    return head.startswith(_STARTS) or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)
