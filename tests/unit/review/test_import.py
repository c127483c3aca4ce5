"""Verdicts in: every format, once each, whatever they hold."""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from brightness_model import draw as draw_photo
from pyarrow import parquet
from sqlalchemy import select
from typer.testing import CliRunner

from veriphoto.errors import DataError, UnreadableFileError, UsageError
from veriphoto_client.catalogue.rows import CatalogueRow, table
from veriphoto_client.commandline.app import build
from veriphoto_client.scan.rows import CSV, JSONL, Format, Row
from veriphoto_review.cases.forgetting import forget
from veriphoto_review.cases.pictures import read_picture
from veriphoto_review.cases.rule import draw
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.database.schema import tallies
from veriphoto_review.intake.feedback import FeedbackDesk
from veriphoto_review.intake.files import batches
from veriphoto_review.intake.importing import Imported, ImportOptions, import_batches

from .kit import bring, row

SCANNED = [
    Row(path="a, b.jpg", verdict="real", probability=0.01, confidence="high", model_version=1),
    Row(path='=cmd("x").jpg', verdict="ai_generated", probability=0.99, confidence="high", model_version=1),
    Row(path="c.jpg", verdict="unsure", probability=0.5, confidence="low", model_version=1),
    Row(path="d.txt", error="[not_an_image] no picture"),
]


def read(database: Database, source: Path, **options: Any) -> Imported:
    return import_batches(database, batches(str(source)), ImportOptions(**options))


def answers(database: Database) -> int:
    with database.reading() as connection:
        return sum(connection.scalars(select(tallies.c.answers)))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "folder"])
def test_what_a_scan_writes_comes_in_once(form: str, database: Database, tmp_path: Path) -> None:
    source = tmp_path / f"scan.{form}"
    if form == "csv":
        source.write_text(CSV.header + "".join(map(CSV.line, SCANNED)))
    elif form == "jsonl":
        source.write_text("".join(map(JSONL.line, SCANNED)))
    else:
        rows = table([CatalogueRow(row=each, sha256="ab" * 32, model_sha256="cd" * 32).values() for each in SCANNED])
        if form == "folder":
            source = tmp_path / "scan"
            (source / "shard=00000").mkdir(parents=True)
            (source / "_plan").mkdir()
            (source / "_scan.json").write_text("{}")
            parquet.write_table(pa.table({"input": [b"x"]}), source / "_plan" / "plan-00000.parquet")
            parquet.write_table(rows, source / "shard=00000" / "part-00000.parquet")
        else:
            parquet.write_table(rows, source)
    done = read(database, source, audit_share=1.0)
    assert (done.rows, done.new, done.failed, done.bad) == (4, 3, 1, 0)
    assert dict(done.cases) == {"flagged": 1, "unsure": 1, "audit": 1}
    again = read(database, source, audit_share=1.0)
    assert (again.new, again.known, sum(again.cases.values())) == (0, 3, 0)
    assert answers(database) == 3
    found = {case.reference for case in CaseStore(database).page(Filter())}
    assert found == {"a, b.jpg", "c.jpg", './=cmd("x").jpg' if form == "csv" else '=cmd("x").jpg'}


def test_the_gateways_answers_keep_all_they_say(database: Database, tmp_path: Path) -> None:
    answer = {
        "prediction": "ai_generated",
        "verdict": "unsure",
        "probability": 0.55,
        "confidence": "low",
        "threshold": 0.5,
        "unsure_band": [0.4, 0.6],
        "reason": "borderline",
        "inference_time_ms": 12.0,
        "model_version": 3,
        "provenance": {"c2pa": {"status": "absent"}},
        "request_id": "0" * 32,
        "shop": "north",
        "seller": "s-1",
        "second_opinion": {"asked": True, "first_probability": 0.7},
        "real_photos_this_high": 0.004,
    }
    bring(database, tmp_path, [answer])
    (case,) = CaseStore(database).page(Filter())
    assert (case.reference, case.request_id, case.shop, case.seller) == ("0" * 32, "0" * 32, "north", "s-1")
    assert (case.prediction, case.threshold, case.unsure_low, case.unsure_high) == ("ai_generated", 0.5, 0.4, 0.6)
    assert case.provenance == {"c2pa": {"status": "absent"}}
    assert case.extra == {
        "second_opinion": {"asked": True, "first_probability": 0.7},
        "real_photos_this_high": 0.004,
    }


def test_the_audit_sample_is_drawn_by_hash(database: Database, tmp_path: Path) -> None:
    rows = [row(number, "real", 0.1) for number in range(2000)]
    done = bring(database, tmp_path, rows, audit_share=0.1)
    assert 150 < done.cases["audit"] < 250
    drawn = {case.sha256 for case in CaseStore(database).page(Filter(), limit=2000)}
    assert drawn == {each["sha256"] for each in rows if draw(each["sha256"]) < 0.1}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"verdict": "maybe"}, "verdict 'maybe'"),
        ({"verdict": None}, "no verdict"),
        ({"probability": "nan"}, "probability 'nan'"),
        ({"probability": 1.5}, "probability 1.5"),
        ({"probability": None}, "probability None"),
        ({"model_version": "x"}, "model_version 'x'"),
        ({"model_version": 2**40}, "model_version"),
        ({"sha256": "zz"}, "sha256 'zz'"),
        ({"path": "", "sha256": ""}, "neither path"),
        ({"seen_at": "yesterday"}, "seen_at 'yesterday'"),
        ({"seen_at": 1e300}, "seen_at"),
        ({"verdict": {"a": 1}}, "verdict"),
        ({"probability": 10**400}, "probability 1000"),
        ({"model_version": 2.7}, "model_version 2.7"),
        ({"model_version": float("inf")}, "model_version inf"),
        ({"model_version": -float("inf")}, "model_version -inf"),
        ({"seen_at": 10**400}, "seen_at 1000"),
        ({"path": "\N{BLACK STAR}" * 900}, "reference has more than"),
        ({"seller": "x" * 10_000}, "seller has more than"),
        ({"shop": "x" * 10_000}, "shop has more than"),
    ],
)
def test_a_bad_row_is_told_and_the_others_come_in(bad: dict[str, Any], why: str, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    done = bring(database, tmp_path, [row(1), row(2, **bad), row(3)])
    assert (done.new, done.bad) == (2, 1)
    assert "row 2" in done.complaints[0]
    assert why in done.complaints[0]


def test_a_version_comes_in_as_spreadsheets_and_pandas_write_it(database: Database, tmp_path: Path) -> None:
    done = bring(database, tmp_path, [row(1, model_version="2.0"), row(2, model_version=2.0)])
    assert (done.new, done.bad) == (2, 0)
    assert {case.model_version for case in CaseStore(database).page(Filter())} == {2}


def test_rows_whose_id_is_no_text_come_in_while_truths_wait(database: Database, tmp_path: Path) -> None:
    FeedbackDesk(database).take(kind="request_id", value="a\0b", truth="real", note="", actor="shop")
    done = bring(database, tmp_path, [row(1), row(2, request_id="a\0b"), row(3, request_id="a\ud800b")])
    assert (done.new, done.bad) == (3, 0)
    assert CaseStore(database).decided_since(0.0) == {"shop": 1}


def test_a_quote_that_never_closes_swallows_no_rows(database: Database, tmp_path: Path) -> None:
    lines = ["path,verdict,probability,model_version,seller", 'a.jpg,unsure,0.5,1,"x', *["b.jpg,unsure,0.5,1,y"] * 3]
    (tmp_path / "open.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"open\.csv cannot be read: unexpected end of data; repair it"):
        read(database, tmp_path / "open.csv")
    assert answers(database) == 0


def test_lines_that_are_no_rows(database: Database, tmp_path: Path) -> None:
    done = bring(database, tmp_path, [row(1), [1, 2], "text", 7, None])
    assert (done.new, done.bad) == (1, 4)


@pytest.mark.parametrize("deep", [65, 500, 100_000])
def test_what_is_nested_without_end(deep: int, database: Database, tmp_path: Path) -> None:
    nested = "[" * deep + "]" * deep
    lines = [json.dumps(row(1)), nested, json.dumps(row(2))[:-1] + f', "more": {nested}}}']
    texts = [row(3, provenance=nested, unsure_band=nested, threshold=10**400), row(4)]
    (tmp_path / "deep.jsonl").write_text("\n".join([*lines, *map(json.dumps, texts)]))
    done = read(database, tmp_path / "deep.jsonl")
    assert (done.new, done.bad) == (3, 2)
    assert "row 2" in done.complaints[0]


@pytest.mark.parametrize(("year", "taken"), [(1, False), (1969, False), (1970, True), (9999, True)])
def test_times_of_parquet_are_held_to_what_others_are(
    year: int, taken: bool, database: Database, tmp_path: Path
) -> None:
    rows = pa.Table.from_pylist([row(1, seen_at=datetime(year, 12, 31, tzinfo=UTC))])
    parquet.write_table(rows, tmp_path / "x.parquet")
    done = read(database, tmp_path / "x.parquet")
    assert (done.new, done.bad) == (int(taken), int(not taken))


def test_hostile_text_comes_in_and_out_as_it_is(database: Database, tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>.jpg", "a\0b.jpg", "\udcff.jpg", "'; DROP TABLE cases; --", "\u202egpj.exe"]
    bring(database, tmp_path, [row(n, path=name, seller=name) for n, name in enumerate(names)])
    found = {case.reference for case in CaseStore(database).page(Filter())}
    assert found == {names[0], "a\N{REPLACEMENT CHARACTER}b.jpg", "\\udcff.jpg", names[3], names[4]}


def test_a_case_gets_the_sha256_of_a_picture_that_can_be_read(database: Database, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(draw_photo(number))
    digests = [hashlib.sha256(draw_photo(number)).hexdigest() for number in range(3)]
    desk = FeedbackDesk(database)
    desk.take(kind="sha256", value=digests[0], truth="real", note="", actor="shop")
    rows = [row(number, path=str(tmp_path / f"{number}.jpg"), sha256="") for number in range(2)]
    rows += [row(2, "real", 0.1, path=str(tmp_path / "2.jpg"), sha256=""), row(3, path="gone.jpg", sha256="")]
    assert bring(database, tmp_path, rows, audit_share=0.0).new == 4
    assert bring(database, tmp_path, rows, audit_share=0.0).known == 4, "a row is the same row with or without it"
    found = {case.reference.rpartition("/")[2]: case for case in CaseStore(database).page(Filter())}
    assert {name: case.sha256 for name, case in found.items()} == {
        "0.jpg": digests[0],
        "1.jpg": digests[1],
        "gone.jpg": "",
    }
    assert found["0.jpg"].truth == "real", "a truth that waited finds it"
    assert desk.take(kind="sha256", value=digests[1], truth="real", note="", actor="shop").status == "decided"


def test_a_row_may_name_a_picture_and_say_where_it_lies(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(draw_photo(1))
    rows = [row(1, path=str(tmp_path / "a.jpg"), reference="item-1", sha256=""), row(2, path="", reference="item-2")]
    bring(database, tmp_path, rows)
    found = {case.reference: case for case in CaseStore(database).page(Filter())}
    assert read_picture(found["item-1"]) == draw_photo(1)
    assert found["item-1"].sha256 == hashlib.sha256(draw_photo(1)).hexdigest()
    assert CaseStore(database).named(str(tmp_path / "a.jpg")) == CaseStore(database).named("item-1")
    with pytest.raises(UnreadableFileError, match="no photo is known for this case"):
        read_picture(found["item-2"])


@pytest.mark.parametrize("form", [CSV, JSONL])
def test_a_replaced_photo_is_another_picture(form: Format, store: CaseStore, tmp_path: Path) -> None:
    before = {"path": "a.jpg", "verdict": "real", "probability": 0.01, "confidence": "high", "model_version": 1}
    after = {**before, "verdict": "ai_generated", "probability": 0.99, "size": 20_001, "modified": "2026-11-05 10:00"}
    unchanged = Row(**{**before, "path": "b.jpg", "size": 1, "modified": "2026-11-04 10:00"})
    source = tmp_path / ("scan.csv" if form is CSV else "scan.jsonl")

    def scanned(row: Row) -> Imported:
        source.write_text(form.header + form.line(row) + form.line(unchanged))
        return read(store.database, source, audit_share=0.0)

    assert scanned(Row(**before, size=20_000, modified="2026-11-04 10:00")).new == 2
    assert scanned(Row(**before, size=20_000, modified="2026-11-04 10:00")).known == 2
    done = scanned(Row(**after))
    assert (done.new, done.known, dict(done.cases)) == (1, 1, {"flagged": 1})
    assert [case.verdict for case in store.page(Filter())] == ["ai_generated"]


def test_answers_that_were_noted_without_size_and_time_do_not_count_again(store: CaseStore, tmp_path: Path) -> None:
    plain, stamp = row(1, sha256=""), {"size": 20_000, "modified": "2026-11-04 10:00"}
    bring(store.database, tmp_path, [plain])
    forget(store.database, actor="dpo", reference=plain["path"])
    assert bring(store.database, tmp_path, [{**plain, **stamp}]).known == 1
    assert bring(store.database, tmp_path, [{**plain, **stamp}]).known == 1
    assert store.count(Filter()) == 0, "an import does not bring back what was forgotten"
    assert bring(store.database, tmp_path, [{**plain, **stamp, "size": 20_001}]).new == 1


def test_two_imports_of_one_scan_at_a_time(url: str, tmp_path: Path) -> None:
    Database(url)
    file = tmp_path / "rows.csv"
    lines = (
        Row(path=f"{n}.jpg", verdict="ai_generated", probability=0.9, confidence="high", model_version=1)
        for n in range(3000)
    )
    file.write_text(CSV.header + "".join(map(CSV.line, lines)))
    done: list[Imported] = []

    def work() -> None:
        database = Database(url)
        done.append(import_batches(database, batches(str(file), size=300), ImportOptions()))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.new for each in done) == 3000
    assert all(each.rows == 3000 for each in done)
    assert answers(Database(url)) == CaseStore(Database(url)).count(Filter()) == 3000


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "empty").mkdir()
    for name, kind, words in (
        ("gone.csv", DataError, "No such file"),
        ("gone.parquet", DataError, "there is no"),
        ("other.csv", DataError, "no column 'verdict'"),
        ("other.parquet", DataError, "no column 'verdict'"),
        ("torn.parquet", DataError, "cannot be read"),
        ("empty", DataError, "no Parquet files"),
        ("rows.xlsx", UsageError, "ends in .csv"),
    ):
        with pytest.raises(kind, match=words):
            list(batches(str(tmp_path / name)))


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    file.write_text("vendor,path,verdict,probability,model_version\nv1,a.jpg,ai_generated,0.9,1\nv2,b.jpg,what,0.9,1\n")
    arguments = ["review", "import", str(file), "--database", f"sqlite:///{tmp_path / 'r.db'}", "--shop", "south"]
    result = CliRunner().invoke(build(), [*arguments, "--column", "seller=vendor"])
    assert result.exit_code == 1
    assert "2 rows: 1 new, 0 known, 0 not scored, 1 not understood; new cases: 1 flagged" in result.output
    (case,) = CaseStore(Database(f"sqlite:///{tmp_path / 'r.db'}")).page(Filter())
    assert (case.seller, case.shop) == ("v1", "south")
    refused = CliRunner().invoke(build(), [*arguments, "--column", "color=vendor"])
    assert isinstance(refused.exception, UsageError)
