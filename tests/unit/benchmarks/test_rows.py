"""The table of speed: which figures meet their goals, and what is written of them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from benchmarks import rows
from benchmarks.page import BEGIN, DOCS, END, with_table
from benchmarks.rows import ROWS, load, missed, others_share, record, table


@pytest.fixture(autouse=True)
def summary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Writes the summary elsewhere."""
    file = tmp_path / "summary.json"
    monkeypatch.setattr(rows, "SUMMARY", file)
    return file


def test_a_row_is_met_at_its_goal_and_on_the_right_side_of_it() -> None:
    record({"photo_1mp": [0.65, 0.65], "photo_12mp": [0.51], "served_raw": [0.92], "served_grpc": [0.93]})
    met = {key: entry["met"] for key, entry in load()["rows"].items()}
    assert met == {"photo_1mp": True, "photo_12mp": False, "served_raw": True, "served_grpc": False}
    assert [row.key for row in missed(load())] == ["photo_12mp", "served_grpc"]


def test_an_entry_says_all_that_the_table_needs(summary: Path) -> None:
    record({"memory": [0.7, 0.9, 0.8]})
    written = json.loads(summary.read_text(encoding="utf-8"))
    assert {"machine", "commit", "rows"} == set(written)
    entry = written["rows"]["memory"]
    assert entry["low"] <= entry["median"] == 0.8 <= entry["high"]
    assert entry["goal"] == 0.8
    assert entry["command"] == "python -m benchmarks.memory"


def test_other_rows_stay_and_the_order_is_the_tables() -> None:
    record({"memory": [0.7]})
    record({"photo_1mp": [0.6]})
    assert list(load()["rows"]) == ["photo_1mp", "memory"]


def test_what_this_machine_cannot_tell_is_neither_met_nor_missed() -> None:
    record({"opinion_amx": []}, notes={"opinion_amx": "needs a CPU with AMX"})
    assert load()["rows"]["opinion_amx"]["met"] is None
    assert not list(missed(load()))
    assert "needs a CPU with AMX" in table(load())


def test_a_fast_variant_that_was_not_accepted_misses() -> None:
    record({"int8_over_fp32": [2.5]}, failed=("int8_over_fp32",))
    assert load()["rows"]["int8_over_fp32"]["met"] is False


def test_every_row_names_a_benchmark_that_exists() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert importlib.util.find_spec(f"benchmarks.{row.module}"), row.key


def test_the_table_has_a_line_for_every_row_measured_or_not() -> None:
    record({"photo_1mp": [0.6]})
    lines = table(load()).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert sum("not measured" in line for line in lines) == len(ROWS) - 1


def test_the_document_has_a_place_for_the_table() -> None:
    record({"photo_1mp": [0.6]})
    text = with_table(DOCS.read_text(encoding="utf-8"), load())
    assert table(load()) in text
    assert with_table(text, load()) == text
    with pytest.raises(ValueError, match="no place"):
        with_table(text.replace(END, ""), load())
    assert BEGIN in text


def test_what_others_take_is_a_share() -> None:
    assert 0.0 <= others_share() <= 1.0
