"""The plan: every input once, in units that never change."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from veriphoto.errors import UnreadableFileError
from veriphoto_client.catalogue import plan as planning
from veriphoto_client.catalogue.keys import KeySet
from veriphoto_client.catalogue.plan import Plan, Unit
from veriphoto_client.scan.walk import Found
from veriphoto_client.sources import storage
from veriphoto_client.sources.places import Place


def found(*names: str) -> list[Found]:
    return [Found(name) for name in names]


def planned(output: Place) -> list[str]:
    return [each.path for unit in Plan(output).units() for each in unit.inputs(output)]


def test_each_input_once_in_order(output: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planning, "UNITS_PER_SHARD", 3)
    names = [f"/photos/{number}.jpg" for number in range(20)]
    assert Plan(output).extend(found(*names, *names[5:9]), 2) == 20
    assert planned(output) == names
    units = list(Plan(output).units())
    assert [unit.rows for unit in units] == [2] * 10
    assert [(unit.shard, unit.index) for unit in units] == [(n // 3, n % 3) for n in range(10)]


def test_new_inputs_come_behind_and_nothing_moves(output: Place):
    Plan(output).extend(found("a", "b", "c"), 2)
    before = list(Plan(output).units())
    assert Plan(output).extend(found("0", "a", "b", "c", "d"), 2) == 2
    assert list(Plan(output).units())[: len(before)] == before
    assert planned(output) == ["a", "b", "c", "0", "d"]
    assert Plan(output).extend(found("d", "a"), 2) == 0


def test_names_that_are_no_utf8_and_errors_survive(output: Place):
    strange = os.fsdecode(b"/photos/\xff.jpg")
    Plan(output).extend([Found(strange), Found("/locked", UnreadableFileError("not allowed"))], 5)
    (unit,) = Plan(output).units()
    first, second = unit.inputs(output)
    assert (first.path, first.error) == (strange, None)
    assert str(second.error) == "not allowed"


def test_a_unit_is_done_when_its_part_file_is_there(output: Place):
    Plan(output).extend(found("a", "b", "c"), 1)
    storage.put(output.child(*Unit(0, 1, 1).part), b"rows")
    assert Plan(output).done() == {(0, 1)}


def test_an_interrupted_listing_goes_on(output: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planning, "UNITS_PER_SHARD", 1)

    def breaking():
        yield from found("a", "b", "c")
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="gone"):
        Plan(output).extend(breaking(), 2)
    Plan(output).extend(found("a", "b", "c", "d"), 2)
    assert sorted(planned(output)) == ["a", "b", "c", "d"]


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path: Path, output: Place, monkeypatch: pytest.MonkeyPatch):
    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        storage.put(output.child("part"), b"x" * 100)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_killed_writers_left_is_removed_and_never_listed(tmp_path: Path, output: Place):
    (tmp_path / "out" / "shard=00000").mkdir(parents=True)
    torn = tmp_path / "out" / "shard=00000" / ".tmp-123"
    torn.write_bytes(b"half")
    assert list(storage.files(output, recursive=True)) == []
    storage.clear_torn(output)
    assert not torn.exists()


def test_key_set_agrees_with_a_set():
    generator, keys, truth = np.random.default_rng(0), KeySet(), set()
    for _ in range(200):
        some = [f"s3://bucket/{generator.integers(5000)}" for _ in range(generator.integers(60))]
        expected = []
        for text in some:
            expected.append(text not in truth)
            truth.add(text)
        assert keys.add_new(some) == expected
    assert len(keys) == len(truth)
    assert len(keys._runs) < 20
