"""A catalogue run again: failed and changed inputs are scored where they stand, all others keep their rows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from veriphoto.errors import UnreadableFileError
from veriphoto_client.catalogue.plan import Plan
from veriphoto_client.catalogue.report import CatalogueReport, known_scores, take_stock
from veriphoto_client.catalogue.scorer import Work, score_unit
from veriphoto_client.catalogue.standing import Listing, find_todo, read_part
from veriphoto_client.catalogue.tally import Count
from veriphoto_client.scan.resume import Standing
from veriphoto_client.scan.stamps import Stamp
from veriphoto_client.scan.walk import Found
from veriphoto_client.sources.listing import inputs
from veriphoto_client.sources.places import Place

NONE: dict[Standing, int] = {}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, content in enumerate((b"P1", b"broken", b"P2", b"P3", b"also broken")):
        (folder / f"{number}.jpg").write_bytes(content)
    return folder


@pytest.fixture
def scan(work: Callable[..., Work], output: Place, judge: Any) -> Callable[..., CatalogueReport]:
    """What the engine does, without Ray."""

    def again(found: Iterator[Found], *, force: bool = False, **changes: Any) -> CatalogueReport:
        plan, listing = Plan(output), Listing()
        plan.extend(listing.noting(found), 2)
        listing.sort()
        judge.asked.clear()
        todo = find_todo(output, plan.units(), plan.done(), listing, force=force)
        with ThreadPoolExecutor(2) as readers:
            assert sum(score_unit(unit, work(**changes), readers) for unit in todo.units) == sum(
                unit.todo for unit in todo.units
            )
        report = take_stock(output, 0, Count(), 1.0, 1.0, todo)
        assert report.rows == sum(unit.rows for unit in plan.units())
        return report

    return again


def rows(output: Place) -> dict[str, dict[str, Any]]:
    found = [row for unit in Plan(output).units() for row in read_part(output.child(*unit.part))]
    by_path = {row["path"]: row for row in found}
    assert len(by_path) == len(found)
    return by_path


def test_failed_and_changed_inputs_are_scored_again_and_no_others(photos: Path, output: Place, scan, judge):
    first = scan(inputs(str(photos)))
    assert (first.standings, first.failed, first.complete) == ({Standing.NEW: 5}, 2, False)
    before = rows(output)
    (photos / "1.jpg").write_bytes(b"P4")
    (photos / "2.jpg").write_bytes(b"P55")
    (photos / "5.jpg").write_bytes(b"P6")
    second = scan(inputs(str(photos)))
    assert second.standings == {Standing.FAILED: 2, Standing.CHANGED: 1, Standing.NEW: 1}
    assert "files:    1 new, 2 again after a failure, 1 changed, 2 unchanged\n" in second.summary()
    assert sorted(judge.asked) == [b"P4", b"P55", b"P6", b"also broken"]
    after = rows(output)
    assert {Path(path).name for path, row in after.items() if row["error"]} == {"4.jpg"}
    assert len(after) == 6
    for name in ("0.jpg", "3.jpg"):
        assert after[str(photos / name)] == before[str(photos / name)]
    assert after[str(photos / "2.jpg")]["size"] == 3
    (photos / "4.jpg").write_bytes(b"P7")
    assert scan(inputs(str(photos))).complete
    assert scan(inputs(str(photos))).standings == NONE
    assert judge.asked == []


def test_force_scores_all_that_the_source_has(photos: Path, output: Place, scan, judge):
    scan(inputs(str(photos)))
    (photos / "0.jpg").unlink()
    report = scan(inputs(str(photos)), force=True)
    assert report.standings == {Standing.UNCHANGED: 2, Standing.FAILED: 2}
    assert sorted(judge.asked) == [b"P2", b"P3", b"also broken", b"broken"]
    assert len(rows(output)) == 5


def test_rows_of_inputs_that_are_gone_stay_and_do_not_fail_a_scan(photos: Path, scan):
    scan(inputs(str(photos)))
    for name in ("1.jpg", "4.jpg"):
        (photos / name).unlink()
    report = scan(inputs(str(photos)))
    assert (report.failed, report.failed_elsewhere, report.complete) == (2, 2, True)


def test_what_failed_is_not_answered_by_equal_bytes_that_failed(photos: Path, output: Place, scan, judge, desk):
    scan(inputs(str(photos)), deduplicate=True)
    later = type(desk)()
    for scores in known_scores(output):
        later.tell(scores)
    scan(inputs(str(photos)), deduplicate=True, desk=later)
    assert sorted(judge.asked) == [b"also broken", b"broken"]


def in_store(size: int, second: int) -> list[Found]:
    stamp = Stamp.of(size, second * 10**9)
    return [Found("s3://nowhere/a.jpg", UnreadableFileError("not read here"), stamp=stamp)]


def test_a_store_is_asked_nothing_but_its_listing(output: Place, scan):
    """The stamp of an object comes from the listing, also where it is scored again."""
    scan(iter(in_store(1, 1)))
    scan(iter(in_store(2, 2)))
    (row,) = rows(output).values()
    assert (row["size"], row["modified"]) == (2, "1970-01-01T00:00:02.000000Z")


def test_a_list_without_sizes_and_times_changes_nothing(photos: Path, output: Place, scan, judge, tmp_path: Path):
    """What the source does not tell cannot be compared."""
    (photos / "0.jpg").write_bytes(b"P")
    scan(iter([Found("moon://a.jpg"), Found(str(photos / "0.jpg"), named=True)]))
    assert scan(iter([Found(str(photos / "0.jpg"), named=True)])).standings == NONE
    (photos / "0.jpg").write_bytes(b"PP")
    assert scan(iter([Found(str(photos / "0.jpg"), named=True)])).standings == {Standing.CHANGED: 1}


def test_an_output_of_before_rows_knew_their_file(photos: Path, output: Place, scan, judge):
    scan(inputs(str(photos)))
    for unit in Plan(output).units():
        part = Path(output.child(*unit.part).path)
        parquet.write_table(parquet.read_table(part, partitioning=None).drop_columns(["size", "modified"]), part)
    for at in Path(output.path, "_plan").iterdir():
        with parquet.ParquetFile(at) as file:
            groups = [
                file.read_row_group(index).drop_columns(["size", "modified"]) for index in range(file.num_row_groups)
            ]
        with parquet.ParquetWriter(at, groups[0].schema) as writer:
            for group in groups:
                writer.write_table(group)
    later = time.time() + 60
    os.utime(photos / "0.jpg", (later, later))
    assert scan(inputs(str(photos))).standings == {Standing.FAILED: 2, Standing.CHANGED: 1}
    assert rows(output)[str(photos / "0.jpg")]["size"] == 2
    assert scan(inputs(str(photos))).standings == {Standing.FAILED: 2}
    os.utime(photos / "3.jpg", (later, later))
    assert scan(inputs(str(photos))).standings == {Standing.FAILED: 2, Standing.CHANGED: 1}


def test_a_listing_knows_what_it_has_seen():
    listing = Listing()
    strange = os.fsdecode(b"/nowhere/\xff.jpg")
    seen = [Found("s3://a", stamp=Stamp.of(1, 10**9)), Found("s3://b"), Found(strange, stamp=Stamp.of(2, -1))]
    assert list(listing.noting(seen)) == seen
    listing.sort()
    assert listing.stamp("s3://a") == Stamp.of(1, 10**9)
    assert listing.stamp("s3://b") == Stamp()
    assert listing.stamp("/nowhere/\\udcff.jpg") == Stamp.of(2, -1)
    assert listing.stamp("s3://c") is None


def test_a_part_file_reads_back_as_it_was(photos: Path, output: Place, scan):
    scan(inputs(str(photos)))
    for unit in Plan(output).units():
        part = output.child(*unit.part)
        assert pa.Table.from_pylist(read_part(part)).num_rows == unit.rows
