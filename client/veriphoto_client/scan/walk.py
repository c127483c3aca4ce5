"""Walks folders, one file at a time, so that millions of files never form a list in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from veriphoto.errors import UnreadableFileError
from veriphoto_client.scan.stamps import Stamp
from veriphoto_client.sdk.images import advice


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or a folder that could not be listed."""

    path: str
    error: UnreadableFileError | None = None
    """Set if this is a folder that could not be listed."""
    named: bool = False
    """Whether the user named this file, rather than a folder that contains it."""
    stamp: Stamp | None = None
    """Size and time, if the listing has them."""


def walk(
    roots: Sequence[Path], *, leave_out: Path | None = None, on_listed: Callable[[str], None] | None = None
) -> Iterator[Found]:
    """Walks files and folders.

    Everything that is not a folder is yielded, whatever its name or kind. Links to files are followed when they are
    read. Links to folders are not, except those named as roots, so there are no loops and no file has two paths.

    Args:
        roots: Files and folders; one inside another is walked once.
        leave_out: A file to leave out, such as the scan's own output.
        on_listed: Called with each folder that could be listed.

    Yields:
        Each file once, in the file system's order.
    """
    unwanted = os.path.realpath(leave_out) if leave_out else None
    for root in _distinct(roots):
        for found in _walk(root, on_listed or (lambda _: None)):
            if unwanted is None or not _same(found.path, unwanted):
                yield found


def _distinct(roots: Sequence[Path]) -> list[str]:
    kept: dict[str, str] = {}
    for root in roots:
        kept.setdefault(os.path.realpath(root), os.fspath(root))
    return [root for real, root in kept.items() if not any(str(parent) in kept for parent in Path(real).parents)]


def _walk(root: str, on_listed: Callable[[str], None]) -> Iterator[Found]:
    if not Path(root).is_dir():
        yield Found(root, named=True)
        return
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif not _links_to_folder(entry):
                        yield Found(entry.path)
            on_listed(folder)
        except OSError as error:
            reason = f"the folder {folder} cannot be listed: {error.strerror}; {advice(error)}"
            yield Found(folder, UnreadableFileError(reason))


def _links_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # a circular link: its row will hold the error of reading it
        return False


def _same(path: str, unwanted: str) -> bool:
    # Names first: resolving every path would cost a system call for each of its folders.
    return Path(path).name == Path(unwanted).name and os.path.realpath(path) == unwanted
