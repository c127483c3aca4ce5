"""Rows as text, and back."""

from __future__ import annotations

import csv
import io
import json
import os

import pytest
from photo_corpus import picture

from veriphoto.errors import UnreadableFileError
from veriphoto_client import FakeTransport
from veriphoto_client.scan.rows import COLUMNS, CSV, JSONL, TABLE, csv_line, failed, json_line, scored, table_line
from veriphoto_client.scan.stamps import UNKNOWN, Stamp, stamp_of, utc
from veriphoto_client.sdk.answers import decode_answer

DETECTION = decode_answer(FakeTransport.answer(picture()))
NAMES = [
    "plain.jpg",
    "with, comma.jpg",
    'with "quotes".jpg',
    "two\nlines.jpg",
    "carriage\rreturn.jpg",
    "semi;colon.jpg",
    " blank ",
    "naïve ☃.jpg",
    "back\\slash",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_comes_back_whole(name):
    for row in (scored(name, DETECTION), failed(name, UnreadableFileError("gone, 'away'"))):
        (record,) = csv.reader(io.StringIO(csv_line(row), newline=""), strict=True)
        assert record[0] == json.loads(json_line(row))["path"] == name
        assert json_line(row).count("\n") == 1


def test_a_scored_row_has_everything_but_an_error():
    row = scored("a.jpg", DETECTION, Stamp.of(1234, 1_700_000_000_123_456_789))
    record = next(csv.DictReader(io.StringIO(CSV.header + csv_line(row))))
    assert tuple(record) == COLUMNS == tuple(json.loads(json_line(row)))
    assert record["verdict"] in ("real", "ai_generated", "unsure")
    assert float(record["probability"]) == pytest.approx(DETECTION.verdict.probability, abs=1e-6)
    assert record["model_version"] == "1"
    assert record["error"] == ""
    assert (record["size"], record["modified"]) == ("1234", "2023-11-14T22:13:20.123456Z")


def test_a_failed_row_has_nothing_but_the_error():
    row = failed("a.jpg", UnreadableFileError("it is\ngone"))
    assert csv_line(row) == "a.jpg,,,,,[unreadable_file] it is gone,,\n"
    assert json.loads(json_line(row)) == {
        "path": "a.jpg",
        "verdict": None,
        "probability": None,
        "confidence": None,
        "model_version": None,
        "error": "[unreadable_file] it is gone",
        "size": None,
        "modified": None,
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_name_becomes_a_formula(start):
    (record,) = csv.reader(io.StringIO(csv_line(scored(f"{start}cmd()", DETECTION)), newline=""))
    assert record[0] == f"./{start}cmd()"


def test_names_that_are_not_utf8_are_escaped():
    name = os.fsdecode(b"caf\xe9.jpg")
    row = failed(name, UnreadableFileError(f"{name} is gone"))
    for line in (csv_line(row), json_line(row), table_line(row)):
        assert line.encode("utf-8")
    assert row.path == "caf\\udce9.jpg"


def test_a_table_line_is_one_line_whatever_the_name_does():
    name = "a\nb\x1b[31m"
    for row in (scored(name, DETECTION), failed(name, UnreadableFileError(f"{name} is gone"))):
        line = table_line(row)
        assert line.count("\n") == 1
        assert "\x1b" not in line


def test_formats_start_as_they_should():
    assert CSV.header == "path,verdict,probability,confidence,model_version,error,size,modified\n"
    assert JSONL.header == ""
    assert TABLE.header.startswith("verdict")


def test_a_table_shows_what_is_below_the_working_folder_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert table_line(scored(str(tmp_path / "a" / "b.jpg"), DETECTION)).endswith(" a/b.jpg\n")
    assert table_line(scored("/elsewhere/b.jpg", DETECTION)).endswith(" /elsewhere/b.jpg\n")


@pytest.mark.parametrize("when", [0, -1, 10**9 - 1, 1_700_000_000_123_456_789, -(10**19), 10**22, 2**63 - 1])
def test_any_time_of_a_file_can_be_written(when):
    assert utc(when) != utc(when + 1000)
    assert Stamp.of(1, when)
    assert Stamp.of(1, when).number != Stamp.of(1, when + 1000).number != Stamp.of(2, when).number


def test_a_file_that_is_gone_has_no_stamp(tmp_path):
    assert stamp_of(str(tmp_path / "gone")) == stamp_of("nul\0") == UNKNOWN
    assert not UNKNOWN
