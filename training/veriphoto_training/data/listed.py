"""Builds a data set from a list of photos in public repositories, such as ``training/photo_sources.csv``.

A list is a stranger's text: every name that becomes part of a path or of an argument is checked before anything is
fetched. A photo's file appears whole or not at all, and the manifest after the last one, so a run that is killed
goes on where it stopped.
"""

from __future__ import annotations

import csv
import fcntl
import io
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from veriphoto.contract import FORMATS, MAX_FILE_BYTES
from veriphoto.errors import DataError, ImageError, UsageError
from veriphoto.files import replace_text
from veriphoto.headers import read as read_header
from veriphoto_training.data import repositories
from veriphoto_training.data.cuts import Cut, apply, parse, require_tools
from veriphoto_training.data.dataset import LABELS, fraction
from veriphoto_training.data.repositories import FetchError

REMOTE: Final = "https://github.com"
MISSING_FILE: Final = "missing.csv"
_MARK: Final = ".veriphoto-photos"
"""Made first: says that a folder is ours to write into, and is locked while a run does."""
_STAGED: Final = ".repository-"
_THREADS: Final = 4

_COLUMNS: Final = ("repo", "commit", "blob", "original", "label", "source", "generator", "group", "product")
_MORE: Final = ("licence", "how")
_SHAPES: Final = {
    "repo": re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}"),
    "commit": re.compile(r"[0-9a-f]{40}"),
    "blob": re.compile(r"[0-9a-f]{40}"),
    "label": re.compile("|".join(LABELS)),
    "source": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"),
}
_REMOTES: Final = re.compile(r"(https|file)://[^\s-][^\s]*")
_SUFFIXES: Final = {"jpeg": ".jpg", **{name: f".{name}" for name in FORMATS if name != "jpeg"}}

Reason = Literal["repository", "commit", "blob", "too_large", "not_a_picture", "cut_unknown", "try_again"]
Track = Callable[[Sequence[str], str], Iterable[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A photo of a list."""

    values: dict[str, str]
    cut: Cut | None
    """How it is cut; None where the list does not say enough."""

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    @property
    def stem(self) -> str:
        """Path of its file in the data set, without suffix."""
        letter = self.cut.letter if self.cut else "o"
        return f"{self['label']}/{self['source']}/{self['blob'][:16]}_{letter}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A photo that could not be had."""

    row: Row
    reason: Reason
    """Which of repository, commit and blob is gone, what is wrong with the blob, or that trying again may help."""
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """What a run did."""

    counts: dict[str, int]
    """Photos in the data set, by class."""
    kept: int
    """How many of them were there before."""
    missing: tuple[Missing, ...]

    @property
    def reasons(self) -> dict[str, int]:
        """Missing photos by reason."""
        return dict(Counter(one.reason for one in self.missing).most_common())


def read_list(path: Path) -> list[Row]:
    """Reads and checks a list.

    Raises:
        DataError: If it is no such list, or a row has a value that must not become part of a path or argument.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lacking = set(_COLUMNS) - set(reader.fieldnames or ())
            if lacking:
                raise DataError(f"{path}: column {', '.join(sorted(lacking))} is missing")
            return [_row(path, number, values) for number, values in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a list of photos: {error}") from error


def _row(path: Path, number: int, values: dict[str, str]) -> Row:
    kept = {column: values.get(column) or "" for column in (*_COLUMNS, *_MORE)}
    for column, shape in _SHAPES.items():
        if not shape.fullmatch(kept[column]):
            raise DataError(f"{path}, row {number}: {column} must not be {kept[column][:80]!r}")
    try:
        return Row(values=kept, cut=parse(kept["how"]))
    except DataError:
        return Row(values=kept, cut=None)


def build(
    rows: Sequence[Row],
    output: Path,
    *,
    mirrors: Path | None = None,
    remote: str = REMOTE,
    max_per_class: int | None = None,
    track: Track = lambda items, _: items,
) -> Fetched:
    """Fetches, checks and cuts photos, and writes ``manifest.csv`` and ``missing.csv``.

    Args:
        rows: Photos of a list.
        output: Folder of the data set; made, or continued.
        mirrors: Folder of mirrors, see ``find_mirror``; None asks ``remote``.
        remote: Where ``owner/name`` is to be found.
        max_per_class: Use at most this many photos of each class, chosen by hash.
        track: Shows progress over repositories.

    Raises:
        UsageError: If the folder holds something else, another run writes there, or the remote is not https or file.
        MissingExtraError: If a cut needs what is not installed.
    """
    if not _REMOTES.fullmatch(remote):
        raise UsageError(f"--remote must begin with https:// or file://, not {remote!r}")
    if mirrors is not None and not mirrors.is_dir():
        raise UsageError(f"{mirrors} is no folder; name the folder of the mirrors")
    chosen = _unique(rows, max_per_class)
    require_tools(row.cut for row in chosen if row.cut is not None)
    with _locked(output):
        for left in output.glob(f"{_STAGED}*"):  # of a run that was killed
            shutil.rmtree(left)
        before = {row.stem for row in chosen if _file(output, row)}
        wanted: dict[str, list[Row]] = defaultdict(list)
        missing = [
            Missing(row=row, reason="cut_unknown", detail="the list does not say where the photo was cut")
            for row in chosen
            if row.cut is None
        ]
        for row in chosen:
            if row.cut is not None and row.stem not in before:
                wanted[row["repo"]].append(row)

        def one(name: str) -> list[Missing]:
            return _repository(name, wanted[name], output, mirrors, remote)

        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                for _, lost in zip(track(sorted(wanted), "repositories"), pool.map(one, sorted(wanted)), strict=True):
                    missing.extend(lost)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        had = [(row, file) for row in chosen if (file := _file(output, row))]
        replace_text(output / "manifest.csv", _manifest(output, had))
        replace_text(output / MISSING_FILE, _report(missing))
        counts = Counter(row["label"] for row, _ in had)
    return Fetched(counts={label: counts[label] for label in LABELS}, kept=len(before), missing=tuple(missing))


def _unique(rows: Sequence[Row], maximum: int | None) -> list[Row]:
    once = list({row.stem: row for row in reversed(rows)}.values())[::-1]
    if maximum is None:
        return once
    ordered = sorted(once, key=lambda row: fraction(row["blob"]))
    kept = {row.stem for label in LABELS for row in [one for one in ordered if one["label"] == label][:maximum]}
    return [row for row in once if row.stem in kept]


def _repository(name: str, rows: Sequence[Row], output: Path, mirrors: Path | None, remote: str) -> list[Missing]:
    with tempfile.TemporaryDirectory(prefix=_STAGED, dir=output) as folder:
        try:
            if mirrors is None:
                place = Path(folder, "git")
                commits, blobs = (list(dict.fromkeys(row[column] for row in rows)) for column in ("commit", "blob"))
                repositories.download(f"{remote.rstrip('/')}/{name}", commits, blobs, place)
            else:
                found = repositories.find_mirror(mirrors, name)
                if found is None:
                    raise FetchError(f"there is no mirror of {name} in {mirrors}", gone=True)
                place = found
            return list(_take(place, rows, output))
        except FetchError as error:
            reason: Reason = "repository" if error.gone else "try_again"
            return [Missing(row=row, reason=reason, detail=str(error)) for row in rows if not _file(output, row)]


def _take(place: Path, rows: Sequence[Row], output: Path) -> Iterator[Missing]:
    there = repositories.sizes(place, list(dict.fromkeys(row[name] for row in rows for name in ("commit", "blob"))))
    by_blob: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kind, size = there.get(row["blob"], ("", 0))
        if kind != "blob":
            gone: Reason = "blob" if there.get(row["commit"], ("",))[0] == "commit" else "commit"
            yield Missing(row=row, reason=gone, detail=f"{gone} {row[gone]} is not in the repository")
        elif size > MAX_FILE_BYTES:
            yield Missing(row=row, reason="too_large", detail=f"{size:,} bytes; the limit is {MAX_FILE_BYTES:,}")
        else:
            by_blob[row["blob"]].append(row)
    for blob, data in repositories.read(place, {blob: there[blob][1] for blob in by_blob}):
        for row in by_blob[blob]:
            try:
                _write(output, row, data)
            except ImageError as error:
                yield Missing(row=row, reason="not_a_picture", detail=error.message)


def _write(output: Path, row: Row, data: bytes) -> None:
    made = apply(row.cut or Cut(kind="original"), data)
    path = output / f"{row.stem}{_SUFFIXES[read_header(made).format]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A fixed name: what a kill leaves is overwritten by the next run. The lock keeps a second run away.
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(made)
    partial.replace(path)


def _file(output: Path, row: Row) -> Path | None:
    for suffix in _SUFFIXES.values():
        path = output / f"{row.stem}{suffix}"
        if path.is_file():
            return path
    return None


def _manifest(output: Path, had: Sequence[tuple[Row, Path]]) -> str:
    rows = [{"path": file.relative_to(output).as_posix(), **row.values} for row, file in had]
    return _csv(("path", *_COLUMNS, *_MORE), rows)


def _report(missing: Sequence[Missing]) -> str:
    rows = [{**one.row.values, "reason": one.reason, "detail": one.detail} for one in missing]
    return _csv(("reason", "detail", "repo", "commit", "blob", "original", "label", "source"), rows)


def _csv(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    mark = output / _MARK
    if output.exists() and not mark.is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} holds something else; name an empty folder, or one that this command made")
    output.mkdir(parents=True, exist_ok=True)
    with mark.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another run writes into {output}; wait for it, or name another folder") from None
        yield
