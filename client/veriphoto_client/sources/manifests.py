"""Files that list inputs: CSV and Parquet with a column of URIs, and the three layouts of S3 Inventory."""

from __future__ import annotations

import csv as text_csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pyarrow import ArrowException, csv

from veriphoto.errors import UsageError
from veriphoto.foreign_json import parse
from veriphoto_client.scan.pictures import URI_COLUMNS
from veriphoto_client.scan.walk import Found
from veriphoto_client.sources import inventory, storage
from veriphoto_client.sources.places import Place, is_uri

ENDINGS: Final = (".csv", ".csv.gz", ".parquet", "manifest.json")
"""Suffixes of manifests, in lower case. S3 Inventory writes ``manifest.json`` beside its lists."""
_HEAD_BYTES: Final = 1 << 20
_ALL_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"(?:,"(?:[^"]|"")*")+\r?')


def is_manifest(name: str) -> bool:
    """Returns whether a source is a manifest, judged by its name."""
    return name.lower().endswith(ENDINGS)


def read_manifest(at: Place) -> Iterator[Found]:
    """Lists the inputs that a manifest names.

    Args:
        at: The manifest; relative paths in it start from its folder.

    Yields:
        Each input, possibly several times; ``named`` if it is in a list of URIs, with its stamp if it is in an
        inventory.

    Raises:
        UsageError: If it cannot be read, or does not say where its inputs are.
    """
    try:
        if at.path.lower().endswith("manifest.json"):
            for part, names in _inventory_files(at):
                yield from _rows(part, names)
        else:
            yield from _rows(at)
    except (OSError, ArrowException, UnicodeDecodeError) as error:  # the last: names of columns in another encoding
        raise UsageError(
            f"the manifest {at.uri(at.path)} cannot be read: {error}; a list is CSV in UTF-8 with commas, or Parquet"
        ) from error


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A table, read batch by batch."""

    names: Sequence[str]
    """Names of its columns, as in the file or as S3 Inventory calls them."""
    batches: Any
    """Called with the positions of the wanted columns; yields batches of them."""
    encoded: bool
    """Whether ``+`` stands for a space in an inventory's keys, as in its CSV."""


def _rows(at: Place, names: Sequence[str] | None = None) -> Iterator[Found]:
    sheet = _parquet(at) if at.path.lower().endswith(".parquet") else _csv(at, names)
    lower = [name.strip().lower() for name in sheet.names]
    column = next((lower.index(name) for name in URI_COLUMNS if name in lower), None)
    if column is not None:
        yield from _uris(sheet, column, at)
        return
    columns = inventory.columns(sheet.names)
    if columns is None:
        raise UsageError(
            f"the manifest {at.uri(at.path)} has none of the columns {', '.join(URI_COLUMNS)}, nor bucket and key as "
            "S3 Inventory; rename the column of the photos to one of these"
        )
    for batch in sheet.batches(list(columns.values())):
        values = {name: batch.column(number).to_pylist() for number, name in enumerate(columns)}
        yield from inventory.found(values, plus_is_blank=sheet.encoded)


def _uris(sheet: _Sheet, column: int, at: Place) -> Iterator[Found]:
    folder = at.path.rpartition("/")[0]
    for batch in sheet.batches([column]):
        for value in batch.column(0).to_pylist():
            if value:
                whole = is_uri(value) or os.path.isabs(value)  # noqa: PTH117
                yield Found(value if whole else at.uri(f"{folder}/{value}"), named=True)


def _parquet(at: Place) -> _Sheet:
    names = storage.open_parquet(at).schema_arrow.names

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        with storage.open_parquet(at) as file:
            for batch in file.iter_batches(columns=[names[number] for number in columns]):
                yield batch.select([names[number] for number in columns])  # in this order rather than the file's

    return _Sheet(names, batches, encoded=False)


def _csv(at: Place, given: Sequence[str] | None) -> _Sheet:
    names = given or inventory.names_without_header(_first_records(at))
    parsing = csv.ParseOptions(newlines_in_values=True)
    reading = csv.ReadOptions(autogenerate_column_names=bool(names))
    if given and storage.is_empty(at):
        return _Sheet(given, lambda _: (), encoded=True)
    with at.system.open_input_stream(at.path) as stream:
        own = csv.open_csv(stream, reading, parsing).schema.names

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        wanted = [own[number] for number in columns]
        options = csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, "string"))
        with at.system.open_input_stream(at.path) as stream:
            yield from csv.open_csv(stream, reading, parsing, options)

    return _Sheet(names or own, batches, encoded=True)


def _first_records(at: Place) -> list[list[str]]:
    """Returns the first records of a CSV whose every field is quoted, as S3 Inventory writes them; else none."""
    with at.system.open_input_stream(at.path) as stream:
        head = bytes(stream.read(_HEAD_BYTES)).decode("utf-8", "replace")
    lines = head.split("\n")[:2]
    if not all(_ALL_QUOTED.fullmatch(line) for line in lines if line):
        return []
    return [record for record in text_csv.reader(lines) if record]


def _inventory_files(at: Place) -> Iterator[tuple[Place, Sequence[str] | None]]:
    try:
        content: Mapping[str, Any] = parse(storage.read(at))
        keys = [str(file["key"]) for file in content["files"]]
        form, schema = str(content["fileFormat"]).upper(), str(content["fileSchema"])
        bucket = str(content["destinationBucket"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{at.uri(at.path)} is not a manifest of S3 Inventory: {error!r}; give one, or a list"
        ) from error
    if form not in ("CSV", "PARQUET"):
        raise UsageError(f"{at.uri(at.path)} lists {form} files, which are not read; let S3 Inventory write Parquet")
    names = [name.strip() for name in schema.split(",")] if form == "CSV" else None
    for key in keys:
        yield (_copied(at, key) if at.local else Place(at.system, f"{bucket}/{key}", at.prefix)), names


def _copied(manifest: Place, key: str) -> Place:
    """Finds a file of an inventory that was copied to this machine, with or without its folders."""
    folders, name = Path(manifest.path).parents, PurePosixPath(key).name
    candidates = [*(folder / key for folder in folders), folders[1] / "data" / name, folders[0] / name]
    found = next((each for each in candidates if each.is_file()), None)
    if found is None:
        raise UsageError(f"{key}, which {manifest.path} names, is not there; copy it beside the manifest")
    return Place(manifest.system, str(found), manifest.prefix)
