"""What SOURCE can be: every kind lists the same inputs, each once."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from veriphoto.errors import UsageError
from veriphoto_client.sources.listing import inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.png", "shop 1/c.jpg", "shop 1/deep/d.jpg", "shop 2/e,f.webp", "list.csv"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"P")
    return tmp_path / "photos"


def names(source: str | Path, folder: Path, **options) -> list[str]:
    return sorted(
        os.path.relpath(found.path.removeprefix("file://"), folder) for found in inputs(str(source), **options)
    )


def test_a_folder(folder: Path):
    expected = ["a.jpg", "b.png", "shop 1/c.jpg", "shop 1/deep/d.jpg", "shop 2/e,f.webp"]
    skipped: list[str] = []
    assert names(folder, folder, on_skip=skipped.append) == expected
    assert skipped == [str(folder / "list.csv")]
    assert names(f"file://{folder}", folder) == expected


def test_a_relative_folder_gives_absolute_paths(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    assert all(Path(found.path).is_absolute() for found in inputs("photos"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("**/*.jpg", ["a.jpg", "shop 1/c.jpg", "shop 1/deep/d.jpg"]),
        ("shop ?/*", ["shop 1/c.jpg", "shop 2/e,f.webp"]),
        ("shop [2-9]/*.webp", ["shop 2/e,f.webp"]),
        ("*.gif", []),
    ],
)
def test_a_glob(folder: Path, pattern: str, expected: list[str]):
    assert names(folder / pattern, folder) == expected


def test_an_output_inside_the_source_does_not_count(folder: Path):
    assert "a.jpg" in names(folder, folder, leave_out=str(folder / "shop 1"))
    assert "shop 1/c.jpg" not in names(folder, folder, leave_out=str(folder / "shop 1"))


@pytest.mark.parametrize("column", ["uri", "path", "url", "URL"])
@pytest.mark.parametrize("ending", ["csv", "parquet", "CSV", "Parquet"])
def test_a_manifest(folder: Path, tmp_path: Path, column: str, ending: str):
    listed = [str(folder / "a.jpg"), f"file://{folder}/b.png", "photos/shop 2/e,f.webp", "s3://bucket/x.jpg", ""]
    manifest = tmp_path / f"list.{ending}"
    if ending.lower() == "csv":
        with manifest.open("w", newline="") as file:
            csv.writer(file).writerows([("price", column), *(("1", uri) for uri in listed)])
    else:
        parquet.write_table(pa.table({"price": [1] * 5, column: listed}), manifest)
    found = [each.path for each in inputs(str(manifest))]
    assert found == [*listed[:2], str(folder / "shop 2/e,f.webp"), listed[3]]


def test_a_manifest_without_a_column_of_inputs_says_so(tmp_path: Path):
    (tmp_path / "list.csv").write_text("price\n1\n")
    with pytest.raises(UsageError, match="uri, path, url"):
        list(inputs(str(tmp_path / "list.csv")))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_manifest_in_another_encoding_says_what_is_read(tmp_path: Path, encoding: str):
    (tmp_path / "list.csv").write_text("Größe,path\n1,a.jpg\n", encoding=encoding)
    with pytest.raises(UsageError, match="a list is CSV in UTF-8"):
        list(inputs(str(tmp_path / "list.csv")))


@pytest.mark.parametrize("source", ["nowhere", "nowhere.csv", "nowhere.parquet"])
def test_no_such_source(tmp_path: Path, source: str):
    with pytest.raises(UsageError, match="nowhere"):
        list(inputs(str(tmp_path / source)))


def test_a_scheme_that_nothing_reads_is_named():
    with pytest.raises(UsageError, match="moon"):
        list(inputs("moon://base/photos"))


def test_a_folder_that_cannot_be_listed_is_an_input_with_an_error(folder: Path):
    if os.geteuid() == 0:
        pytest.skip("root may list every folder")
    (folder / "shop 1").chmod(0)
    try:
        (failed,) = [found for found in inputs(str(folder)) if found.error]
    finally:
        (folder / "shop 1").chmod(0o755)
    assert failed.path == str(folder / "shop 1")


def test_a_manifest_may_name_what_nothing_reads(tmp_path: Path):
    """That is a row with an error, not the end of the scan."""
    (tmp_path / "list.csv").write_text("uri\nmoon://base/a.jpg\n")
    assert [found.path for found in inputs(str(tmp_path / "list.csv"), leave_out="out")] == ["moon://base/a.jpg"]
