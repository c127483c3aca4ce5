"""What SOURCE can be, and the inputs it stands for, one at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from fsspec.utils import glob_translate
from pyarrow import ArrowException, csv, fs, parquet

from veriphoto.errors import UnreadableFileError, UsageError
from veriphoto_client.catalogue.places import Place, is_uri, place
from veriphoto_client.scan.walk import Found, walk

MANIFESTS: Final = (".csv", ".parquet")
"""Endings of a SOURCE that lists inputs; the same files inside a folder are inputs like any other."""
URI_COLUMNS: Final = ("uri", "path", "url")
"""Columns of a manifest that may hold the inputs; the first of these that there is counts."""
_WILD: Final = re.compile(r"[*?\[]")


def inputs(source: str, *, leave_out: str | None = None) -> Iterator[Found]:
    """Lists the inputs of a source.

    Args:
        source: A folder, a glob (``**`` crosses folders), a manifest, or an object store's prefix.
        leave_out: A folder whose content does not count (the output, where it lies in the source).

    Yields:
        Absolute paths or URIs, from a manifest also one twice; folders that could not be looked into, with the error.

    Raises:
        UsageError: If there is no such source, or a manifest has no column of inputs.
    """
    at = place(source)
    output = place(leave_out) if leave_out else None
    skip = output.uri(output.path).rstrip("/") + "/" if output else None
    for found in _listed(source, at):
        if skip is None or not found.path.startswith(skip):
            yield found


def _listed(source: str, at: Place) -> Iterator[Found]:
    if at.local and Path(at.path).exists() and not at.path.endswith(MANIFESTS):
        yield from walk([Path(at.path)])
    elif source.endswith(MANIFESTS):
        yield from (Found(uri) for uri in _manifest(at))
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
                yield Found(root.uri(entry.path))


def _manifest(at: Place) -> Iterator[str]:
    folder = at.path.rpartition("/")[0]
    try:
        for batch in _batches(at):
            for value in batch.column(0).to_pylist():
                if value:
                    whole = is_uri(value) or os.path.isabs(value)  # noqa: PTH117
                    yield value if whole else at.uri(f"{folder}/{value}")
    except (OSError, ArrowException) as error:
        raise UsageError(f"the manifest {at.uri(at.path)} cannot be read: {error}") from error


def _batches(at: Place) -> Iterator[Any]:
    if at.path.endswith(".parquet"):
        file = parquet.ParquetFile(at.system.open_input_file(at.path))
        yield from file.iter_batches(columns=[_column(file.schema_arrow.names, at)])
        return
    parsing = csv.ParseOptions(newlines_in_values=True)
    with at.system.open_input_stream(at.path) as stream:
        column = _column(csv.open_csv(stream, parse_options=parsing).schema.names, at)
    options = csv.ConvertOptions(include_columns=[column], column_types={column: "string"})
    with at.system.open_input_stream(at.path) as stream:
        yield from csv.open_csv(stream, parse_options=parsing, convert_options=options)


def _column(names: list[str], at: Place) -> str:
    for name in URI_COLUMNS:
        if name in names:
            return name
    raise UsageError(f"the manifest {at.uri(at.path)} has none of the columns {', '.join(URI_COLUMNS)}")
