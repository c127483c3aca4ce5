from __future__ import annotations

from pathlib import Path

import pytest
from drift_traffic import as_probe, draw, write

from veriphoto.prediction_log.record import Record
from veriphoto_monitoring.input.tail import CHUNK, Tail


def drain(tail: Tail) -> tuple[list[Record], int]:
    records, bad = [], 0
    while (chunk := tail.read()) is not None:
        records += chunk.records
        bad += chunk.bad
    return records, bad


def ids(records: list[Record]) -> list[str]:
    return [record.request_id for record in records]


def test_it_goes_on_across_segments_and_while_lines_come(tmp_path: Path):
    records = draw(900, 1)
    tail = Tail(tmp_path / "log", {})
    assert not tail.reachable()
    assert tail.read() is None
    write(tmp_path / "log", records[:300])
    assert tail.reachable()
    assert ids(drain(tail)[0]) == ids(records[:300])
    write(tmp_path / "log", records[300:400])
    write(tmp_path / "log", records[400:900], nanoseconds=2)
    assert ids(drain(tail)[0]) == ids(records[300:])
    assert drain(tail) == ([], 0)


def test_bad_lines_are_counted_and_hide_no_others(tmp_path: Path):
    records = draw(3, 2)
    path = write(tmp_path, records[:1])
    with path.open("ab") as file:
        half = records[1].to_line().replace(records[1].request_id, "\\ud800")  # of a pair: no text that can be stored
        file.write(b'\xff\xfe\n{"time":1}\n\n[]\n' + records[1].to_line().encode().replace(b"}", b"") + b"null\n")
        file.write(half.encode())
    write(tmp_path, records[2:])
    found, bad = drain(Tail(tmp_path, {}))
    assert ids(found) == [records[0].request_id, records[2].request_id]
    assert bad == 7


def test_a_line_is_read_when_it_is_whole(tmp_path: Path):
    records = draw(2, 3)
    path = write(tmp_path, records[:1])
    line = records[1].to_line()
    with path.open("a") as file:
        file.write(line[:50])
    tail = Tail(tmp_path, {})
    assert ids(drain(tail)[0]) == ids(records[:1])
    with path.open("a") as file:
        file.write(line[50:])
    found, bad = drain(tail)
    assert (ids(found), bad) == (ids(records[1:]), 0)


def test_a_line_cut_off_by_a_dead_writer_is_bad_once_its_successor_writes(tmp_path: Path):
    records = draw(2, 4)
    path = write(tmp_path, records[:1])
    with path.open("a") as file:
        file.write('{"time":')
    tail = Tail(tmp_path, {})
    assert drain(tail)[1] == 0
    write(tmp_path, records[1:], nanoseconds=2)
    found, bad = drain(tail)
    assert (ids(found), bad) == (ids(records[1:]), 1)


def test_garbage_without_lines_does_not_stop_it(tmp_path: Path):
    records = draw(1, 5)
    path = tmp_path / "predictions-a-00000000000000000001.jsonl"
    path.write_bytes(b"x" * (2 * CHUNK + 10) + b"\n" + records[0].to_line().encode())
    found, bad = drain(Tail(tmp_path, {}))
    assert ids(found) == ids(records)
    assert bad == 3


def test_writers_stay_mixed_while_catching_up(tmp_path: Path):
    records = draw(6000, 6)
    for number, writer in enumerate("ab"):
        write(tmp_path, records[number::2], writer)
    found, _ = drain(Tail(tmp_path, {}))
    assert sorted(ids(found)) == sorted(ids(records))
    chunk = CHUNK / len(records[0].to_line())
    assert max(abs(record.time - records[place].time) for place, record in enumerate(found)) < 4 * chunk


def test_a_segment_that_is_gone_or_was_read_elsewhere_is_no_trouble(tmp_path: Path):
    records = draw(20, 7)
    path = write(tmp_path, records[:10])
    write(tmp_path, records[10:], nanoseconds=2)
    tail = Tail(tmp_path, {path.name: len(records[0].to_line())})
    first = tail.read()
    assert first is not None
    assert ids(first.records) == ids(records[1:10])
    path.unlink()
    assert ids(drain(tail)[0]) == ids(records[10:])


def test_what_cannot_be_read_is_said_once_and_makes_the_log_unreachable(tmp_path: Path, caplog):
    """A directory stands for another user's file, which root can read."""
    records = draw(5, 9)
    path = write(tmp_path, records, "b")
    unreadable = tmp_path / path.name.replace("-b-", "-a-")
    unreadable.mkdir()
    tail = Tail(tmp_path, {})
    assert tail.reachable()
    assert ids(drain(tail)[0]) == ids(records)  # other writers' lines are read all the same
    drain(tail)
    assert not tail.reachable()
    assert [record.getMessage() for record in caplog.records if unreadable.name in record.getMessage()] == [
        f"{unreadable.name} cannot be read (IsADirectoryError): may this user read it?"
    ]
    unreadable.rmdir()
    assert tail.reachable()


@pytest.mark.parametrize("probes", [[0], [0, 1, 2]])
def test_canaries_are_no_traffic(tmp_path: Path, probes: list[int]):
    records = [as_probe(one) if number in probes else one for number, one in enumerate(draw(3, 8))]
    write(tmp_path, records)
    found, bad = drain(Tail(tmp_path, {}))
    assert len(found) == 3 - len(probes)
    assert bad == 0
