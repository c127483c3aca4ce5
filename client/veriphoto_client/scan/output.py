"""Writes rows to standard output, or to a file that a later scan can continue."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from veriphoto.errors import UsageError
from veriphoto_client.scan.resume import Earlier, read_earlier
from veriphoto_client.scan.rows import CSV, JSONL, TABLE, Format, Row
from veriphoto_client.scan.settle import settle, upgrade

FORMATS: Final[dict[str, Format]] = {".csv": CSV, ".jsonl": JSONL}
"""Formats of a file by its ending."""


class Output:
    """Writes each row immediately and whole, so that a kill loses only the files in flight."""

    def __init__(self, put: Callable[[str], None], name: str, form: Format, earlier: Earlier) -> None:
        """Wraps an open file or standard output.

        Args:
            put: Writes and flushes text.
            name: Name of the output in messages.
            form: Format of the rows.
            earlier: The files that already have a row.
        """
        self._put = put
        self._name = name
        self._form = form
        self.earlier = earlier
        self.listed: set[int] = set()
        """Keys of folders that could be listed now, although an earlier row says that they could not."""
        self.replaced = False
        """Whether a row was written for a file that already had one."""

    def write(self, row: Row, *, replaces: bool = False) -> None:
        """Writes one row.

        Args:
            row: The row.
            replaces: Whether the file already has a row.

        Raises:
            UsageError: If the file cannot be written.
        """
        self.write_text(self._form.line(row))
        self.replaced = self.replaced or replaces

    def write_text(self, text: str) -> None:
        """Writes text as it is; see ``write``."""
        try:
            self._put(text)
        except BrokenPipeError:  # `veriphoto scan ... | head`: the command line knows what to do
            raise
        except OSError as error:
            raise UsageError(f"{self._name} cannot be written: {error.strerror}; make room and run again") from error


@contextmanager
def open_output(path: Path | None) -> Iterator[Output]:
    """Opens the output, and continues an existing one. On exit each file has one row, unless the scan is interrupted.

    Args:
        path: A ``.csv`` or ``.jsonl`` file; None for standard output, a table on a terminal and CSV elsewhere.

    Yields:
        The output, with its header written.

    Raises:
        UsageError: If the suffix is unknown, the file is not a scan's output or cannot be written, or another scan is
            writing it.
    """
    if path is None:
        put, form = (_to_terminal, TABLE) if sys.stdout.isatty() else (into(sys.stdout.buffer), CSV)
        output = Output(put, "standard output", form, Earlier(()))
        output.write_text(form.header)
        yield output
        return
    form = _format(path)
    with _open_own(path, form) as (file, earlier):
        output = Output(into(file), str(path), form, earlier)
        if file.tell() == 0:
            output.write_text(form.header)
        try:
            yield output
        except Exception:
            _settle(path, file, output)
            raise
        _settle(path, file, output)  # not after Ctrl-C, which should be quick: the next run does it


def _settle(path: Path, file: BinaryIO, output: Output) -> None:
    if output.earlier.superseded or output.listed or output.replaced:
        with _writing(path):
            settle(path, file, output.listed)


@contextmanager
def _open_own(path: Path, form: Format) -> Iterator[tuple[BinaryIO, Earlier]]:
    while True:
        with _opened(path) as file:
            _lock(path, file)
            if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                continue  # another scan has just put a new file in its place
            earlier = read_earlier(path, file)
            if earlier.older:
                with _writing(path):
                    upgrade(path, file, form)
                continue
            yield file, earlier
            return


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written anew: {error.strerror}; make room and run again") from error


def into(file: BinaryIO) -> Callable[[str], None]:
    """Returns a function that writes text into a file as UTF-8 and flushes it."""

    def put(text: str) -> None:
        file.write(text.encode("utf-8"))
        file.flush()

    return put


def _to_terminal(text: str) -> None:
    # Looked up each time: while the progress bar is shown, it replaces sys.stdout and moves out of the way.
    sys.stdout.write(text)
    sys.stdout.flush()


def _format(path: Path) -> Format:
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: an output ends in {' or '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    file = _open(path)
    try:
        yield file
    finally:
        # Each row was flushed as it was written; what the disk refused then it refuses again, and that has been told.
        with contextlib.suppress(OSError):
            file.close()


def _open(path: Path) -> BinaryIO:
    if path.exists() and not path.is_file():  # reading a device may never end
        raise UsageError(f"{path} is no file that can be continued; name another with --output, or leave it out")
    try:
        # Not truncated or appended to until it is known to be a scan's output.
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise UsageError(f"{path} cannot be opened: {error.strerror}; name another file with --output") from error


def _lock(path: Path, file: BinaryIO) -> None:
    with contextlib.suppress(ImportError):  # Windows has no fcntl; there two scans into one file are not noticed
        import fcntl  # noqa: PLC0415

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"another scan is writing {path}; wait for it or name another file") from error
