"""One unit: every input a row, in order, written whole, scored once where asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyarrow import parquet

from veriphoto.errors import UnreadableFileError
from veriphoto_client.catalogue import scorer
from veriphoto_client.catalogue.ledger import Claim, Ledger
from veriphoto_client.catalogue.plan import Plan
from veriphoto_client.catalogue.report import known_scores, take_stock
from veriphoto_client.catalogue.rows import SCHEMA
from veriphoto_client.catalogue.scorer import Work, score_unit
from veriphoto_client.catalogue.tally import Count, Tally
from veriphoto_client.scan.rows import COLUMNS
from veriphoto_client.scan.walk import Found
from veriphoto_client.sources.places import Place


@pytest.fixture
def photos(tmp_path: Path) -> list[Found]:
    contents = [b"P1", b"P2", b"broken", b"P1", b"P3"]
    paths = [tmp_path / "photos" / f"{number}.jpg" for number in range(len(contents))]
    paths[0].parent.mkdir()
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    gone = tmp_path / "photos" / "gone.jpg"
    return [*(Found(str(path)) for path in (*paths, gone)), Found("/locked", UnreadableFileError("not allowed"))]


def run(work: Work) -> list[dict]:
    with ThreadPoolExecutor(2) as readers:
        for unit in Plan(work.output).units():
            score_unit(unit, work, readers)
    return [
        row
        for unit in Plan(work.output).units()
        for row in parquet.read_table(work.output.child(*unit.part).path, partitioning=None).to_pylist()
    ]


def test_the_columns_are_those_of_scan_and_more():
    assert tuple(SCHEMA.names) == (*COLUMNS, "sha256", "model_sha256", "retries", "duplicate")


def test_every_input_is_a_row(photos: list[Found], work: Callable[..., Work], output: Place, desk):
    Plan(output).extend(photos, 3)
    rows = run(work())
    assert [row["path"] for row in rows] == [found.path for found in photos]
    assert [bool(row["error"]) for row in rows] == [False, False, True, False, False, True, True]
    assert rows[0]["sha256"] == hashlib.sha256(b"P1").hexdigest()
    assert rows[2]["sha256"] == hashlib.sha256(b"broken").hexdigest()
    assert rows[5]["sha256"] is rows[6]["sha256"] is None
    assert rows[6]["error"] == "[unreadable_file] not allowed"
    assert {row["model_sha256"] for row in rows} == {"m" * 64}
    assert (desk.total().done, desk.total().failed) == (7, 3)
    report = take_stock(output, 0, desk.total(), 1.0, 1.0)
    assert (report.rows, report.failed, report.complete) == (7, 3, False)


def test_what_is_written_is_not_scored_again(photos: list[Found], work: Callable[..., Work], output: Place, judge):
    Plan(output).extend(photos, 3)
    first = run(work())
    asked = len(judge.asked)
    assert run(work()) == first
    assert len(judge.asked) == asked


@pytest.mark.parametrize("rows_per_unit", [1, 2, 100])
def test_equal_bytes_are_scored_once(photos: list[Found], work, output: Place, judge, rows_per_unit: int):
    Plan(output).extend(photos, rows_per_unit)
    rows = run(work(deduplicate=True))
    assert sorted(judge.asked) == [b"P1", b"P2", b"P3", b"broken"]
    assert [row["duplicate"] for row in rows] == [False, False, False, True, False, False, False]
    assert rows[3]["probability"] == rows[0]["probability"]
    assert rows[3]["path"] != rows[0]["path"]


def test_scores_of_an_earlier_run_are_known(photos: list[Found], work, output: Place, judge, desk):
    Plan(output).extend(photos[:2], 3)
    run(work(deduplicate=True))
    later = type(desk)()
    for scores in known_scores(output):
        later.tell(scores)
    Plan(output).extend(photos, 3)
    run(work(deduplicate=True, desk=later))
    assert sorted(judge.asked) == [b"P1", b"P2", b"P3", b"broken"]


def test_a_claim_whose_unit_never_ends_is_taken_over(photos: list[Found], work, output: Place, desk, monkeypatch):
    monkeypatch.setattr(scorer, "_PATIENCE_S", 0.3)
    assert desk.ask(hashlib.sha256(b"P1").hexdigest(), "a unit on a dead node") is Claim.YOURS
    Plan(output).extend(photos, 100)
    rows = run(work(deduplicate=True))
    assert [bool(row["error"]) for row in rows] == [False, False, True, False, False, True, True]
    assert [row["duplicate"] for row in rows].count(True) == 1


@pytest.mark.parametrize("claimed", [False, True])
def test_a_picture_that_ends_its_process_gets_the_blame(
    photos: list[Found], work, output: Place, judge, desk, monkeypatch, claimed
):
    """A judge that dies at one picture: the exception stands for the end of the process, the desk lives on.

    With the same bytes in another unit, which has claimed them, it is scored last, after it was waited for.
    """
    monkeypatch.setattr(scorer, "_PATIENCE_S", 0.0)

    class DeadError(Exception):
        pass

    def deadly(data: bytes):
        if data == b"P2":
            raise DeadError
        return judge(data)

    def again() -> list[dict]:
        if claimed:
            desk.ask(hashlib.sha256(b"P2").hexdigest(), "a unit on a dead node", insist=True)
        return run(work(judge=deadly, deduplicate=claimed))

    Plan(output).extend(photos, 100)
    for _ in range(3):  # at which one is unknown, then known once, then twice
        with pytest.raises(DeadError):
            again()
    rows = again()
    assert "ended each process" in rows[1]["error"]
    assert [bool(row["error"]) for row in rows] == [False, True, True, False, False, True, True]
    assert desk.total().done == 7


def test_tally_counts_a_unit_once_however_often_it_runs():
    tally = Tally()
    tally.begin("a")
    tally.note("a", Count(5, 1, 2.0))
    tally.begin("a")
    tally.note("a", Count(3, 0, 1.0))
    assert tally.total() == Count(3, 0, 1.0)
    tally.finish("a", Count(6, 1, 2.5))
    tally.begin("b")
    tally.note("b", Count(1, 0, 0.5))
    assert tally.total() == Count(7, 1, 3.0)


def test_ledger_gives_a_unit_its_own_claims_back():
    ledger = Ledger()
    assert ledger.ask("x", "a") is Claim.YOURS
    assert ledger.ask("x", "a") is Claim.YOURS
    assert ledger.ask("x", "b") is Claim.WAIT
    assert ledger.ask("x", "b", insist=True) is Claim.YOURS
    assert ledger.ask("x", "a") is Claim.WAIT
