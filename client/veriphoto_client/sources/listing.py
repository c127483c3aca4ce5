"""Lists the inputs of a source, which may be a folder, a glob, a manifest or an object store's prefix."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from fsspec.utils import glob_translate
from pyarrow import fs

from veriphoto.errors import UnreadableFileError, UsageError
from veriphoto_client.scan.pictures import may_be_picture, promises_picture
from veriphoto_client.scan.stamps import Stamp
from veriphoto_client.scan.walk import Found, walk
from veriphoto_client.sources.manifests import is_manifest, read_manifest
from veriphoto_client.sources.places import Place, is_uri, place

_WILD: Final = re.compile(r"[*?\[]")
_TYPES: Final = mimetypes.MimeTypes()  # Python's own table: the same on every machine


def inputs(
    source: str, *, leave_out: str | None = None, on_skip: Callable[[str], None] = lambda _: None
) -> Iterator[Found]:
    """Lists the inputs of a source.

    Args:
        source: A folder, a glob (``**`` crosses folders), a manifest, or an object store's prefix.
        leave_out: A folder whose content is ignored, for an output that lies inside the source.
        on_skip: Called with each file that is not a photo: local files are judged by their first bytes, those of a
            store by their name. What a manifest names is never skipped.

    Yields:
        Absolute paths or URIs (a manifest may repeat one), and folders that could not be listed, with the error.

    Raises:
        UsageError: If there is no such source, or a manifest has no column of inputs.
    """
    at = place(source)
    output = place(leave_out) if leave_out else None
    skip = output.uri(output.path).rstrip("/") + "/" if output else None
    for found in _listed(source, at):
        if skip is not None and found.path.startswith(skip):
            continue
        if found.named or found.error is not None or _may_be_picture(found.path):
            yield found
        else:
            on_skip(found.path)


def _may_be_picture(path: str) -> bool:
    if not is_uri(path):
        return may_be_picture(path)
    if promises_picture(path):
        return True
    # A name without a known suffix may be a photo: keys in object stores often have none.
    return _TYPES.guess_type(PurePosixPath(path).name)[0] in (None, "application/octet-stream")


def _listed(source: str, at: Place) -> Iterator[Found]:
    if at.local and Path(at.path).exists() and not (is_manifest(at.path) and Path(at.path).is_file()):
        yield from walk([Path(at.path)])
    elif is_manifest(source):
        yield from read_manifest(at)
    elif _WILD.search(at.path):
        yield from _glob(at)
    elif at.local:
        raise UsageError(f"there is no {source}; give a folder, a glob, a manifest or a URI")
    else:
        yield from _under(at)


def _glob(at: Place) -> Iterator[Found]:
    wanted = re.compile(glob_translate(at.path))
    parts = PurePosixPath(at.path).parts
    fixed = next(index for index, part in enumerate(parts) if _WILD.search(part))
    root = Place(at.system, str(PurePosixPath(*parts[:fixed])), at.prefix)
    listed = walk([Path(root.path)]) if at.local else _under(root)
    for found in listed:
        if found.error is not None or wanted.match(found.path.removeprefix(at.prefix)):
            yield found


def _under(root: Place) -> Iterator[Found]:
    """Walks a prefix, one folder's listing in memory at a time."""
    folders = [root.path]
    while folders:
        folder = folders.pop()
        try:
            entries = root.system.get_file_info(fs.FileSelector(folder))
        except (OSError, ValueError) as error:
            if folder == root.path:
                raise UsageError(
                    f"{root.uri(folder)} cannot be listed: {error}; check the address and rights"
                ) from error
            yield Found(root.uri(folder), UnreadableFileError(f"{root.uri(folder)} cannot be listed: {error}"))
            continue
        for entry in sorted(entries, key=lambda entry: entry.path):
            if entry.type == fs.FileType.Directory:
                folders.append(entry.path)
            else:
                known = entry.mtime_ns is not None and entry.size is not None
                yield Found(root.uri(entry.path), stamp=Stamp.of(entry.size, entry.mtime_ns) if known else None)
