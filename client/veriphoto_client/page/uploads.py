"""From what was dropped on the page to photos: ZIP files are opened, under limits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import PurePosixPath
from typing import Final

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto_client.page.gateway import PageError, Photo

MOST_PHOTOS: Final = 500
MOST_BYTES: Final = 500_000_000
_NOT_PHOTOS: Final = ("__MACOSX", ".")
_ABOVE: Final = ".."
_LONGEST_NAME: Final = 255
"""Letters of a name that the gateway keeps: an archive may hold names of 65,000, and a form's headers may not."""


def photos_of(files: Iterable[tuple[str, bytes]]) -> list[Photo]:
    """Collects the photos of an upload.

    Args:
        files: Name and content of each file.

    Returns:
        The photos, ZIP files opened. No two have one name: a list to choose from knows its entries by their names.

    Raises:
        PageError: If a ZIP file cannot be read, or there is too much of everything.
    """
    photos: list[Photo] = []
    names: set[str] = set()
    size = 0
    for photo in _all(files):
        names.add(name := _free(photo.name, names))
        photos.append(Photo(name, photo.content))
        size += len(photo.content)
        if len(photos) > MOST_PHOTOS or size > MOST_BYTES:
            raise PageError(
                f"That is too much at once: up to {MOST_PHOTOS} photos and {MOST_BYTES // 1_000_000} MB. For whole "
                "folders there is the command: veriphoto scan"
            )
    return photos


def _all(files: Iterable[tuple[str, bytes]]) -> Iterator[Photo]:
    for name, content in files:
        if content.startswith(b"PK\x03\x04") or (name.lower().endswith(".zip") and content.startswith(b"PK")):
            yield from _unzip(name, content)
        else:
            yield Photo(name, content)


def _free(name: str, names: set[str]) -> str:
    numbered = (_short(f"{name} ({number})") for number in count(2))
    return next(each for each in chain([_short(name)], numbered) if each not in names)


def _short(name: str) -> str:
    """Keeps the end of a name that is too long: folders come first."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _unzip(name: str, content: bytes) -> Iterator[Photo]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                path = PurePosixPath(member.filename)
                if member.is_dir() or any(part.startswith(_NOT_PHOTOS) for part in path.parts if part != _ABOVE):
                    continue
                with archive.open(member) as file:
                    # One byte more than allowed tells the gateway that it is too large; the rest is never unpacked,
                    # whatever the archive's own list says.
                    yield Photo(f"{name}/{member.filename}", file.read(MAX_FILE_BYTES + 1))
    except Exception as error:  # on hostile bytes zipfile, and the four decoders below it, raise a dozen kinds
        raise PageError(f"{name} cannot be opened: it is damaged, or locked with a password.") from error
