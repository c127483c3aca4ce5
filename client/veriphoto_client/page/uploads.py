"""From what was dropped on the page to photos: ZIP files are opened, under limits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, count
from pathlib import PurePosixPath
from typing import Final

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto_client.page.gateway import PageError, Photo

MOST_PHOTOS: Final = 500
MOST_BYTES: Final = 500_000_000
_NOT_PHOTOS: Final = ("__MACOSX", ".")
_ABOVE: Final = ".."
_ENCRYPTED: Final = 1
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What every program packs photos with. Of the others zipfile unpacks all that it has read, however large that gets."""
_LONGEST_NAME: Final = 255
"""Letters of a name that the gateway keeps: an archive may hold names of 65,000, and a form's headers may not."""


def photos_of(files: Iterable[tuple[str, bytes]]) -> list[Photo]:
    """Collects the photos of an upload.

    Args:
        files: Name and content of each file.

    Returns:
        The photos, ZIP files opened; one that its ZIP file does not give has a problem. No two have one name: a list
        to choose from knows its entries by their names.

    Raises:
        PageError: If a ZIP file cannot be read at all, or there is too much of everything.
    """
    photos: list[Photo] = []
    names: set[str] = set()
    size = 0
    for photo, unpacked in _all(files):
        names.add(name := _free(photo.name, names))
        photos.append(replace(photo, name=name))
        size += unpacked
        if len(photos) > MOST_PHOTOS or size > MOST_BYTES:
            raise PageError(
                f"That is too much at once: up to {MOST_PHOTOS} photos and {MOST_BYTES // 1_000_000} MB. For whole "
                "folders there is the command: veriphoto scan"
            )
    return photos


def _all(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[Photo, int]]:
    """Yields each photo with the bytes that it counts for, which are not nothing where they are lost."""
    for name, content in files:
        if content.startswith(b"PK\x03\x04") or (name.lower().endswith(".zip") and content.startswith(b"PK")):
            yield from _unzip(name, content)
        else:
            yield Photo(name, content), len(content)


def _free(name: str, names: set[str]) -> str:
    numbered = (_short(f"{name} ({number})") for number in count(2))
    return next(each for each in chain([_short(name)], numbered) if each not in names)


def _short(name: str) -> str:
    """Keeps the end of a name that is too long: folders come first."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _unzip(name: str, content: bytes) -> Iterator[tuple[Photo, int]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except Exception as error:  # on hostile bytes zipfile raises a dozen kinds
        raise PageError(f"{name} cannot be opened: it is damaged.") from error
    with archive:
        for member in archive.infolist():
            path = PurePosixPath(member.filename)
            if member.is_dir() or any(part.startswith(_NOT_PHOTOS) for part in path.parts if part != _ABOVE):
                continue
            inside = f"{name}/{member.filename}"
            try:
                if member.compress_type not in _METHODS:
                    raise NotImplementedError
                with archive.open(member) as file:
                    # One byte more than allowed tells the gateway that it is too large; the rest is never unpacked,
                    # whatever the archive's own list says.
                    unpacked = file.read(MAX_FILE_BYTES + 1)
            except Exception as error:  # noqa: BLE001 - zipfile, and the four decoders below it, as above
                yield Photo(inside, b"", _why(member, error)), min(member.file_size, MAX_FILE_BYTES + 1)
            else:
                yield Photo(inside, unpacked), len(unpacked)


def _why(member: zipfile.ZipInfo, error: Exception) -> str:
    if member.flag_bits & _ENCRYPTED:
        return "in the ZIP it is locked with a password"
    if isinstance(error, NotImplementedError):
        return "it is packed in a way that cannot be opened here"
    return "its part of the ZIP is damaged"
