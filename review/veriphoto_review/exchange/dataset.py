"""Decided cases as a data set that train, evaluate, calibrate, canary and promote take as it is."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

from sqlalchemy import select

from veriphoto.errors import ImageError, UsageError
from veriphoto.files import replace_bytes, replace_text
from veriphoto.manifest import sha256_file
from veriphoto_client.metadata.containers import kind_of
from veriphoto_review.cases.case import Case, Truth
from veriphoto_review.cases.pictures import read_picture
from veriphoto_review.database.connection import Database
from veriphoto_review.database.schema import cases

MANIFEST: Final = "manifest.csv"
_COLUMNS: Final = ("path", "label", "source", "generator", "group", "case", "why")
_LABELS: Final = {Truth.REAL.value: "real", Truth.AI.value: "ai"}
_SUFFIXES: Final = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "heif": ".heic", "avif": ".avif"}
_BATCH: Final = 500


@dataclass(kw_only=True)
class Exported:
    """What was written."""

    pictures: Counter[str] = field(default_factory=Counter)
    """By label."""
    copies: int = 0
    """Cases whose picture another case had brought."""
    contradicted: int = 0
    """Cases whose picture people decided in both ways: left out."""
    missing: dict[int, str] = field(default_factory=dict)
    """Case to why its picture could not be read, nor taken from an earlier export."""

    def summary(self) -> str:
        """Says it in a line."""
        return (
            f"{self.pictures['real']} real and {self.pictures['ai']} AI-generated pictures; left out: {self.copies} "
            f"copies, {self.contradicted} decided in both ways, {len(self.missing)} whose file cannot be read"
        )


def export_dataset(
    database: Database, target: Path, *, shop: str | None = None, progress: Callable[[int], None] = lambda _: None
) -> Exported:
    """Writes ``real/``, ``ai/`` and a ``manifest.csv``; pictures of a seller have one group.

    Args:
        database: With the cases; those that people could tell are taken.
        target: An empty folder, or one that an earlier export wrote: what has been forgotten or decided otherwise since
            then is removed from it.
        shop: Only of this one.
        progress: Told how many cases are done.

    Raises:
        UsageError: If the folder holds something else, or the disk refuses.
        DatabaseError: If the database refuses.
    """
    done = Exported()
    clashing = _clashing(database)
    rows: dict[str, list[str]] = {}
    try:
        _claim(target)
        for count, case in enumerate(_decided(database, shop), 1):
            _one(case, target, clashing, rows, done)
            progress(count)
        _remove_others(target, rows)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows[name] for name in sorted(rows))
        replace_text(target / MANIFEST, text.getvalue())
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}; make room and run again") from error
    return done


def _claim(target: Path) -> None:
    others = [path.name for path in target.iterdir()] if target.is_dir() else []
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; name a folder")
    if others and MANIFEST not in others:
        raise UsageError(f"{target} holds other files; name an empty folder")
    if MANIFEST in others:
        first = (target / MANIFEST).read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        if first != ",".join(_COLUMNS):
            raise UsageError(f"{target} holds a data set that is not of a review; name an empty folder")
    for label in _LABELS.values():
        (target / label).mkdir(parents=True, exist_ok=True)
    if MANIFEST not in others:  # a run that is killed can be repeated
        replace_text(target / MANIFEST, ",".join(_COLUMNS) + "\n")


def _decided(database: Database, shop: str | None) -> Iterator[Case]:
    last = 0
    while True:
        query = (
            select(cases).where(cases.c.truth != Truth.UNKNOWN, cases.c.id > last).order_by(cases.c.id).limit(_BATCH)
        )
        if shop is not None:
            query = query.where(cases.c.shop == shop)
        with database.reading() as connection:
            found = [Case.of(row) for row in connection.execute(query)]
        if not found:
            return
        yield from found
        last = found[-1].id


def _clashing(database: Database) -> set[str]:
    """Returns the hashes of pictures that were called both."""
    query = select(cases.c.sha256, cases.c.truth).where(cases.c.truth != Truth.UNKNOWN, cases.c.sha256 != "").distinct()
    with database.reading() as connection:
        found = Counter(row.sha256 for row in connection.execute(query))
    return {sha256 for sha256, truths in found.items() if truths > 1}


def _one(case: Case, target: Path, clashing: set[str], rows: dict[str, list[str]], done: Exported) -> None:
    try:
        data = _read(case, target)
    except ImageError as error:
        done.missing[case.id] = error.message
        return
    sha256 = hashlib.sha256(data).hexdigest()
    label = _LABELS[case.truth]
    if sha256 in clashing or (sha256 in rows and rows[sha256][1] != label):
        done.contradicted += 1
        if rows.pop(sha256, None):
            done.pictures[_other(label)] -= 1
        clashing.add(sha256)
        return
    if sha256 in rows:
        done.copies += 1
        return
    path = Path(label) / f"{sha256}{suffix_of(data)}"
    if not (target / path).is_file() or (target / path).stat().st_size != len(data):
        replace_bytes(target / path, data)
    rows[sha256] = [path.as_posix(), label, case.shop or "review", "", _group(case, sha256), str(case.id), case.why]
    done.pictures[label] += 1


def _read(case: Case, target: Path) -> bytes:
    """Reads a picture, from an earlier export where its file is gone by now: it was neither forgotten nor reversed."""
    try:
        return read_picture(case)
    except ImageError:
        for label, suffix in product(_LABELS.values(), _SUFFIXES.values()):
            path = target / label / f"{case.sha256}{suffix}"
            if case.sha256 and path.is_file() and sha256_file(path) == case.sha256:
                return path.read_bytes()
        raise


def _group(case: Case, sha256: str) -> str:
    # A digest: the data set travels further than the database, and need not name sellers.
    return hashlib.sha256(f"{case.shop}\0{case.seller}".encode()).hexdigest()[:16] if case.seller else sha256[:16]


def _other(label: str) -> str:
    return next(other for other in _LABELS.values() if other != label)


def suffix_of(data: bytes) -> str:
    """Returns the ending that a picture file's first bytes call for."""
    return _SUFFIXES.get(kind_of(data), ".jpg")


def _remove_others(target: Path, rows: dict[str, list[str]]) -> None:
    wanted = {row[0] for row in rows.values()}
    for label in _LABELS.values():
        for path in (target / label).iterdir():
            if path.relative_to(target).as_posix() not in wanted:
                path.unlink()
