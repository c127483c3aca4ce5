"""Writes files whole or not at all, on a disk or in an object store, and reads them back."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import fs, parquet

from veriphoto_client.sources.places import Place

_TEMPORARY: Final = ".tmp-"


def put(at: Place, data: Any) -> None:
    """Writes a file, replacing one of this name.

    Args:
        at: Path or object that the file is written to; missing folders are created.
        data: The content, as bytes or a pyarrow buffer.

    Raises:
        OSError: If it cannot be written; no partial file remains.
    """
    if not at.local:
        with at.system.open_output_stream(at.path) as stream:  # seen by others once it is closed
            stream.write(data)
        return
    path = Path(at.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(memoryview(data))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def put_tables(at: Place, tables: list[pa.Table]) -> None:
    """Writes a Parquet file with one row group for each table; see ``put``."""
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(sink, tables[0].schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(len(table), 1))
    put(at, sink.getvalue())


def exists(at: Place) -> bool:
    """Returns whether a file exists."""
    return bool(at.system.get_file_info(at.path).type == fs.FileType.File)


def read(at: Place) -> bytes:
    """Returns the content of a file."""
    with at.system.open_input_stream(at.path) as stream:
        return bytes(stream.read())


def open_parquet(at: Place) -> Any:
    """Opens a Parquet file: a ``pyarrow.parquet.ParquetFile``."""
    return parquet.ParquetFile(at.system.open_input_file(at.path))


def is_empty(at: Place) -> bool:
    """Returns whether a file is empty, after decompression if its name says that it is compressed."""
    with at.system.open_input_stream(at.path) as stream:
        return not stream.read(1)


def modified_ns(at: Place) -> int:
    """Returns when a file was last modified, in nanoseconds since 1970; 0 if the store does not say."""
    return at.system.get_file_info(at.path).mtime_ns or 0


def files(at: Place, *, recursive: bool = False) -> Iterator[str]:
    """Lists the names of the files under a folder, relative to it and sorted; none if the folder does not exist."""
    root = at.path.rstrip("/") + "/"
    found = at.system.get_file_info(fs.FileSelector(at.path, allow_not_found=True, recursive=recursive))
    names = sorted(entry.path.removeprefix(root) for entry in found if entry.type == fs.FileType.File)
    return (name for name in names if not name.rpartition("/")[2].startswith(_TEMPORARY))


def clear_torn(at: Place) -> None:
    """Removes the temporary files that killed writers left in a local folder and its subfolders."""
    if at.local:
        for path in Path(at.path).rglob(f"{_TEMPORARY}*"):
            path.unlink(missing_ok=True)
