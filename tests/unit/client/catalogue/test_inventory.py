"""S3 Inventory's lists, in each of its layouts, name the same objects."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from veriphoto.errors import UsageError
from veriphoto_client.scan.stamps import Stamp
from veriphoto_client.sources.listing import inputs

KEYS = {
    "photos/red+bag.jpg": "photos/red bag.jpg",
    "photos/blue%20bag.jpg": "photos/blue bag.jpg",
    "photos/a%2Bb%25.png": "photos/a+b%.png",
    "photos/na%C3%AFve%2C%22x%22.jpg": 'photos/naïve,"x".jpg',
    "0a1b2c": "0a1b2c",
}
NOT_PHOTOS = ["photos/", "list.csv", "logs/2026.json.gz", "notes.txt"]
WHEN = datetime(2026, 11, 20, 10, 11, 12, 345_000, UTC)
EXPECTED = [(f"s3://shop/{key}", Stamp.of(7, int(WHEN.timestamp() * 1000) * 1_000_000)) for key in KEYS.values()]
PLAIN = "Bucket, Key, Size, LastModifiedDate, ETag"
VERSIONED = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate"


def listed(source: Path) -> list[tuple[str, Any]]:
    skipped: list[str] = []
    found = [(each.path, each.stamp) for each in inputs(str(source), on_skip=skipped.append)]
    assert {Path(name).name for name in skipped} <= {Path(name).name for name in NOT_PHOTOS}
    return found


def lines(schema: str) -> list[list[str]]:
    """Rows of a CSV; of versions, the old ones and a deleted object too."""
    stamp = "2026-11-20T10:11:12.345Z"
    keys = [*KEYS, *NOT_PHOTOS]
    if schema == PLAIN:
        return [["shop", key, "7", stamp, "abc"] for key in keys]
    old = [["shop", key, "v0", "false", "false", "9", "2025-01-01T00:00:00.000Z"] for key in keys]
    deleted = [["shop", "photos/deleted.jpg", "v2", "true", "true", "", stamp]]
    return [*old, *deleted, *(["shop", key, "v1", "true", "false", "7", stamp] for key in keys)]


def as_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


@pytest.mark.parametrize("schema", [PLAIN, VERSIONED])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("name", ["inventory.csv", "inventory.csv.gz", "INVENTORY.CSV"])
def test_csv(tmp_path: Path, schema: str, header: bool, name: str):
    content = as_csv([*([schema.split(", ")] if header else []), *lines(schema)])
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert listed(tmp_path / name) == EXPECTED


@pytest.mark.parametrize("name", ["inventory.parquet", "INVENTORY.PARQUET"])
@pytest.mark.parametrize("versioned", [False, True])
def test_parquet(tmp_path: Path, name: str, versioned: bool):
    """Whose keys may hold a plus as it is."""
    keys = [key.replace("+", "%20") for key in KEYS] + NOT_PHOTOS
    columns: dict[str, list[Any]] = {"size": [7] * len(keys), "key": keys, "bucket": ["shop"] * len(keys)}
    columns["last_modified_date"] = [WHEN] * len(keys)
    if versioned:
        columns = {name: [*values, *values] for name, values in columns.items()}
        columns["is_latest"] = [False] * len(keys) + [True] * len(keys)
        columns["is_delete_marker"] = [False] * 2 * len(keys)
    parquet.write_table(pa.table(columns), tmp_path / name)
    assert listed(tmp_path / name) == EXPECTED
    parquet.write_table(pa.table({"bucket": ["shop"], "key": ["a+b.jpg"]}), tmp_path / name)
    assert listed(tmp_path / name)[0][0] == "s3://shop/a+b.jpg"


@pytest.mark.parametrize("copied_to", ["root/inventory/shop/daily/data", "root/inventory/shop/daily/2026", "root/data"])
@pytest.mark.parametrize("form", ["CSV", "Parquet"])
def test_the_manifest_json_beside_the_lists(tmp_path: Path, copied_to: str, form: str):
    manifest, data = tmp_path / "root/inventory/shop/daily/2026/manifest.json", tmp_path / copied_to
    if copied_to == "root/data":
        manifest = tmp_path / "root/2026/manifest.json"
    for folder in (manifest.parent, data):
        folder.mkdir(parents=True, exist_ok=True)
    files = ["1.csv.gz", "2.csv.gz", "3.csv.gz"] if form == "CSV" else ["1.parquet"]
    content = {
        "sourceBucket": "shop",
        "destinationBucket": "arn:aws:s3:::lists",
        "fileFormat": form,
        "fileSchema": VERSIONED if form == "CSV" else "message s3.inventory {  required binary bucket (STRING);}",
        "files": [{"key": f"inventory/shop/daily/data/{name}", "size": 1} for name in files],
    }
    manifest.write_text(json.dumps(content))
    if form == "CSV":
        rows = lines(VERSIONED)
        for name, part in zip(files, (rows[:10], [], rows[10:]), strict=True):
            (data / name).write_bytes(gzip.compress(as_csv(part)))
    else:
        keys = [key.replace("+", "%20") for key in KEYS]
        table = {"bucket": ["shop"] * len(keys), "key": keys, "size": [7] * len(keys)}
        parquet.write_table(pa.table({**table, "last_modified_date": [WHEN] * len(keys)}), data / "1.parquet")
    assert listed(manifest) == EXPECTED


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "not a manifest of S3 Inventory"),
        ("[1]", "not a manifest of S3 Inventory"),
        ("words", "not a manifest of S3 Inventory"),
        (json.dumps({"destinationBucket": "b", "fileFormat": "ORC", "fileSchema": "", "files": []}), "ORC"),
        (
            json.dumps({"destinationBucket": "b", "fileFormat": "CSV", "fileSchema": "", "files": [{"key": "a.csv"}]}),
            "is not there",
        ),
    ],
)
def test_another_json_is_refused(tmp_path: Path, content: str, words: str):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UsageError, match=words):
        list(inputs(str(tmp_path / "manifest.json")))


@pytest.mark.parametrize(
    "content",
    [
        '"price","name"\n"1","bag"\n',
        '"shop","key"\n"other","a.jpg"\n',
        "shop,photos/a.jpg\nshop,photos/b.jpg\n",
        '"Shop","photos/a.jpg"\n',
        '"shop"\n"shop"\n',
        "",
    ],
)
def test_no_other_table_is_taken_for_an_inventory(tmp_path: Path, content: str):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(UsageError, match=r"list\.csv"):
        list(inputs(str(tmp_path / "list.csv")))
