"""Local paths and URIs, read through pyarrow's filesystems or, for other schemes, through fsspec's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import fsspec
from pyarrow import fs

from veriphoto.errors import UsageError

_OURS: Final = ("s3", "gs", "gcs", "abfs", "abfss")
"""Schemes that pyarrow reads itself; fsspec reads the others, such as ``az`` (with adlfs) and ``http``."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a filesystem."""

    system: Any
    """A ``pyarrow.fs.FileSystem``."""
    path: str
    prefix: str
    """Prepended to a path of this filesystem to make it a URI; empty for local files and if paths are URIs already."""

    @property
    def local(self) -> bool:
        """Whether this is a path on this machine."""
        return isinstance(self.system, fs.LocalFileSystem)

    def uri(self, path: str) -> str:
        """Returns a path of this filesystem in the form that output rows use."""
        return f"{self.prefix}{path}"

    def read(self, limit: int) -> bytes:
        """Reads a file.

        Args:
            limit: Maximum number of bytes to read.

        Raises:
            Exception: The store's own error, usually an OSError.
        """
        if isinstance(self.system, fs.PyFileSystem):
            # Opened as a file, fsspec's HTTP calls every failure a missing file.
            return bytes(self.system.handler.fs.cat_file(self.path, start=0, end=limit))
        with self.system.open_input_stream(self.path) as stream:
            return bytes(stream.read(limit))

    def child(self, *names: str) -> Place:
        """Returns a path under this one."""
        return Place(self.system, "/".join((self.path.rstrip("/"), *names)), self.prefix)


def is_uri(text: str) -> bool:
    """Returns whether a text is a URI such as ``s3://bucket/photo.jpg``."""
    scheme, found, _ = text.partition("://")
    return bool(found) and scheme.isalnum() and len(scheme) > 1


def place(text: str) -> Place:
    """Parses a path or URI.

    Args:
        text: A local path or a URI. Credentials and endpoints come from the environment, as each store's own tools
            read them.

    Raises:
        UsageError: If no installed package can read the scheme.
    """
    if not is_uri(text):
        return Place(_local(), os.path.abspath(text), "")  # noqa: PTH100  Path.resolve would follow links
    scheme, _, rest = text.partition("://")
    if scheme == "file":
        return Place(_local(), unquote(urlsplit(text).path), "")
    bucket, slash, key = rest.partition("/")
    if scheme in _OURS:
        return Place(_arrow(scheme, bucket), f"{bucket}{slash}{key}", f"{scheme}://")
    system = _fsspec(scheme, bucket)
    path = system.handler.fs._strip_protocol(text)
    return Place(system, path, "" if is_uri(path) else f"{scheme}://")


@lru_cache(maxsize=1)
def _local() -> Any:
    return fs.LocalFileSystem()


@lru_cache(maxsize=256)
def _arrow(scheme: str, bucket: str) -> Any:
    # One client for each bucket: S3 finds a bucket's region when it is made.
    try:
        return fs.FileSystem.from_uri(f"{scheme}://{bucket}/")[0]
    except (OSError, ValueError) as error:
        raise UsageError(f"{scheme}://{bucket} cannot be opened: {error}") from error


@lru_cache(maxsize=256)
def _fsspec(scheme: str, bucket: str) -> Any:
    try:
        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.core.url_to_fs(f"{scheme}://{bucket}/")[0]))
    except (ImportError, ValueError) as error:  # fsspec names the package that reads the scheme
        raise UsageError(f"{scheme}:// cannot be read here: {error}") from error
