"""Lines of the prediction log: what goes in comes out, and a broken line is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from veriphoto.contract import CONTRACT
from veriphoto.prediction_log.record import MAX_REQUEST_ID, PROBE_PREFIX, SEGMENT_GLOB, Record, segment_name

RECORD = Record(
    time=1_700_000_000.125,
    request_id="abc",
    model_version=3,
    logit=-1.5,
    probability=0.182426,
    verdict="real",
    statistics=(1024.0, 768.0, 150_000.0, 2.0, 0.0, 120.5, 40.25, 30.0, 0.5, 1.125),
)


def test_round_trip() -> None:
    assert Record.from_line(RECORD.to_line()) == RECORD
    assert json.loads(RECORD.to_line())["format"] == "webp"
    assert RECORD.statistic("height") == 768.0


def test_confidence_is_logged_and_older_lines_are_read_without_it() -> None:
    line = replace(RECORD, confidence="medium").to_line()
    assert Record.from_line(line).confidence == "medium"
    body = json.loads(line)
    del body["confidence"]
    assert Record.from_line(json.dumps(body)) == RECORD


def test_every_statistic_has_its_name() -> None:
    assert set(CONTRACT.statistics) < set(json.loads(RECORD.to_line()))


@pytest.mark.parametrize("line", ["", "{", "[]", "7", "null", RECORD.to_line()[:-20], "{}", b"\xff", "[" * 100_000])
def test_broken_lines_are_refused(line: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (JSON's own error is one)
        Record.from_line(line)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "gif"),
        ("logit", None),
        ("width", "nan"),
        ("time", "inf"),
        ("time", 10**400),
        ("model_version", float("inf")),
        ("model_version", 1e300),
        ("model_version", -1),
    ],
)
def test_wrong_fields_are_refused(field: str, value: object) -> None:
    body = json.loads(RECORD.to_line()) | {field: value}
    with pytest.raises(ValueError):  # noqa: PT011
        Record.from_line(json.dumps(body))


def test_long_request_ids_are_cut_and_probes_known() -> None:
    body = json.loads(RECORD.to_line()) | {"request_id": PROBE_PREFIX + "x" * 500}
    record = Record.from_line(json.dumps(body))
    assert record.probe
    assert not RECORD.probe
    assert len(Record.from_line(record.to_line()).request_id) == MAX_REQUEST_ID


def test_segments_sort_by_age() -> None:
    names = [segment_name("a", at) for at in (9, 10, 1_700_000_000_000_000_000)]
    assert names == sorted(names)
    assert SEGMENT_GLOB.startswith("predictions-")
