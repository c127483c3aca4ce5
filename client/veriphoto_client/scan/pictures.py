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
"""Suffixes of photos, including formats that cannot be scored. Such a file gets a row whatever it contains."""
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
    """Returns whether a file has the suffix of a photo."""
    return PurePath(name).suffix.lower() in SUFFIXES


def may_be_picture(path: str) -> bool:
    """Returns whether a file in a folder should be scored, judged by its name or else by its first bytes.

    Args:
        path: A path on this machine.

    Returns:
        True also for a file that cannot be read. False for pipes, devices and broken links, unless they are named
        like a photo.
    """
    if promises_picture(path):
        return True
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  opening a pipe would block forever
            return False
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            head = file.read(_HEAD)
    except (FileNotFoundError, ValueError):
        return False
    except OSError:
        return True
    return begins_picture(head or b"")


def begins_picture(head: bytes) -> bool:
    """Returns whether the first 16 bytes of a file are those of a common photo format."""
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    return head.startswith(_STARTS) or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)
