"""Reads a data set: a manifest.csv, a ``real/`` + ``ai/`` tree, or a zip of such a tree.

Only names and hashes stay in memory, so that a data set may be larger than it. Files are read when they are needed; the
system's own cache keeps those that are read often.
"""

from __future__ import annotations

import csv
import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from veriphoto.contract import SUFFIXES
from veriphoto.errors import DataError, UnreadableFileError
from veriphoto.headers import ACCEPTED, looks_accepted

LABELS: Final = ("real", "ai")
"""Folder names and manifest labels, by class index."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a data set."""

    path: str
    """Relative to the data set's root."""
    label: int
    """0 real, 1 AI-generated."""
    source: str
    generator: str = ""
    group: str
    """Pictures of one group are near-duplicates and stay on one side of every split."""
    file: Path
    """The file, or the zip that holds it."""
    member: str = ""
    """Name inside the zip."""

    @property
    def data(self) -> bytes:
        """The encoded bytes, read anew each time.

        Raises:
            UnreadableFileError: If the disk does not give them.
        """
        try:
            return _archive(self.file).read(self.member) if self.member else self.file.read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise UnreadableFileError(f"the file cannot be read: {reason}") from error

    @cached_property
    def sha256(self) -> str:
        """Hash of the encoded bytes."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Pictures that can be opened, and what could not."""

    pictures: tuple[Picture, ...]
    broken: dict[str, str] = field(default_factory=dict)
    """Path to reason, of files left out."""

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over paths, labels and file hashes, independent of order and place."""
        digest = hashlib.sha256()
        for picture in sorted(self.pictures, key=lambda picture: picture.path):
            digest.update(f"{picture.path}\0{picture.label}\0{picture.sha256}\n".encode())
        return digest.hexdigest()


def read_dataset(root: Path) -> Dataset:
    """Reads a data set and sets aside files that are missing, empty or not pictures.

    Args:
        root: A folder with ``manifest.csv`` or with ``real/`` and ``ai/``, or a zip of the latter.

    Returns:
        Its pictures in a stable order, and the broken files with reasons.

    Raises:
        DataError: If the data set is none of these, or holds no readable picture of one of the classes.
    """
    if root.is_file() and zipfile.is_zipfile(root):
        found = list(_from_zip(root))
    elif (root / "manifest.csv").is_file():
        found = list(_from_manifest(root))
    elif all((root / label).is_dir() for label in LABELS):
        found = list(_from_tree(root))
    else:
        raise DataError(f"{root}: expected a manifest.csv, folders 'real' and 'ai', or a zip with these folders")
    pictures, broken = [], {}
    for picture in found:
        reason = _why_broken(picture)
        if reason:
            broken[picture.path] = reason
        else:
            pictures.append(picture)
    missing = {LABELS[0], LABELS[1]} - {LABELS[picture.label] for picture in pictures}
    if missing:
        raise DataError(f"{root}: no readable picture labelled {' or '.join(sorted(missing))} ({len(broken)} broken)")
    return Dataset(pictures=tuple(pictures), broken=broken)


def thin(pictures: Sequence[Picture], maximum: int, salt: str = "") -> list[Picture]:
    """Keeps at most ``maximum`` pictures of each class, chosen by hash.

    Args:
        pictures: Any pictures.
        maximum: Largest number of pictures of each class.
        salt: Change it to get another choice.

    Returns:
        The kept pictures, in their order.
    """
    kept: set[str] = set()
    for label in range(len(LABELS)):
        paths = [picture.path for picture in pictures if picture.label == label]
        kept.update(sorted(paths, key=lambda path: fraction(path, salt))[:maximum])
    return [picture for picture in pictures if picture.path in kept]


def fraction(text: str, salt: str = "") -> float:
    """Maps a text to 0..1 by its hash, the same on every machine; splits are made from it."""
    return int.from_bytes(hashlib.sha256(f"{salt}\0{text}".encode()).digest()[:8], "big") / 2**64


def _from_manifest(root: Path) -> Iterable[Picture]:
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lacking = {"path", "label"} - set(reader.fieldnames or ())
        if lacking:
            raise DataError(f"{root / 'manifest.csv'}: column {', '.join(sorted(lacking))} is missing")
        for number, row in enumerate(reader, start=2):
            if row["label"] not in LABELS:
                raise DataError(f"manifest.csv, line {number}: label is 'real' or 'ai', not {row['label']!r}")
            yield Picture(
                path=row["path"],
                label=LABELS.index(row["label"]),
                source=row.get("source") or PurePosixPath(row["path"]).parent.name,
                generator=row.get("generator") or "",
                group=row.get("group") or row["path"],
                file=root / row["path"],
            )


def _from_tree(root: Path) -> Iterable[Picture]:
    for label in LABELS:
        for file in sorted((root / label).rglob("*")):
            if file.is_file() and file.suffix.lower() in SUFFIXES:
                yield _plain(file.relative_to(root).as_posix(), file, "")


@lru_cache(maxsize=8)
def _archive(file: Path) -> zipfile.ZipFile:
    """Opening reads the whole table of contents: once for all members, and for all threads, not once a picture."""
    return zipfile.ZipFile(file)


def _from_zip(file: Path) -> Iterable[Picture]:
    _archive.cache_clear()  # the file may be another one by now
    for name in sorted(_archive(file).namelist()):
        parts = PurePosixPath(name).parts
        if len(parts) > 1 and parts[0] in LABELS and name.lower().endswith(SUFFIXES):
            yield _plain(name, file, name)


def _plain(path: str, file: Path, member: str) -> Picture:
    parts = PurePosixPath(path).parts
    source = parts[1] if len(parts) > 2 else "folder"
    return Picture(path=path, label=LABELS.index(parts[0]), source=source, group=path, file=file, member=member)


def _why_broken(picture: Picture) -> str:
    try:
        data = picture.data
    except UnreadableFileError as error:
        return error.message.removeprefix("the file ")
    # The one time that every file is read: the fingerprint then needs no second.
    picture.__dict__["sha256"] = hashlib.sha256(data).hexdigest()
    if not data:
        return "empty file"
    return "" if looks_accepted(data) else f"not a {ACCEPTED} file"
