"""The recorder without Triton: what it writes, what it keeps to itself, and that no disk can hold it up."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from veriphoto.prediction_log import segments as segments_module
from veriphoto.prediction_log.background import Background
from veriphoto.prediction_log.record import SEGMENT_GLOB, Record, keep_id
from veriphoto.prediction_log.recorder import LOG_VARIABLE, SIZE_VARIABLE, Recorder, from_environment, make_record
from veriphoto.prediction_log.segments import Segments

STATISTICS = (1024.0, 768.0, 150_000.0, 2.0, 0.0, 120.5, 40.25, 30.0, 0.5, 1.125)
POINT = (3.0, 0.5, 0.4, 0.6, 96.0, 2.5)
OPINIONS = (1.0, -0.5, 0.5, 2.0, 0.1)
QUICK_S = 0.5
"""Far more than a queue costs, far less than a disk that hangs."""


def record(number: int = 0) -> Record:
    return make_record(f"{number:032x}", -1.5, 0.182426, STATISTICS, POINT, OPINIONS)


def tensors(*logits: float) -> list[np.ndarray]:
    column = np.array(logits, np.float32)[:, np.newaxis]
    rows = len(logits)
    return [
        column,
        1 / (1 + np.exp(-column)),
        np.float32([STATISTICS] * rows),
        np.float32([POINT] * rows),
        np.float32([OPINIONS] * rows),
    ]


def lines(directory: Path) -> list[Record]:
    return [
        Record.from_line(line)
        for path in sorted(directory.glob(SEGMENT_GLOB))
        for line in path.read_bytes().splitlines()
    ]


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "var" / "predictions"


class Disk:
    """Stands between the recorder and the system calls that a test wants to fail or to hang."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opens: Callable[[], int] | None = None
        self.real = os.open
        monkeypatch.setattr(segments_module.os, "open", self._open)

    def _open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        return self.real(path, flags, mode) if self.opens is None else self.opens()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_the_verdict_is_the_clients() -> None:
    assert record().verdict == "real"
    assert make_record("", 0.0, 0.5, STATISTICS, POINT, OPINIONS).verdict == "unsure"
    assert make_record("", 2.0, 0.88, STATISTICS, POINT, OPINIONS).verdict == "ai_generated"
    small = (50.0, *STATISTICS[1:])
    assert make_record("", 2.0, 0.88, small, POINT, OPINIONS).verdict == "unsure"
    assert make_record("", 2.0, 0.88, small, POINT, OPINIONS).confidence == "low"
    assert make_record("", 9.0, 0.9999, STATISTICS, POINT, OPINIONS).confidence == "high"
    assert record().model_version == 3


@pytest.mark.parametrize(
    "generated",
    [
        uuid.UUID(int=7).hex,
        str(uuid.UUID(int=7)),
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "probe-canary-nightly",
        f"{uuid.UUID(int=7).hex}#12",
        "",
    ],
)
def test_generated_ids_are_kept(generated: str) -> None:
    assert keep_id(generated) == generated


@pytest.mark.parametrize(
    "name",
    [
        "IMG_1234.jpg",
        "20240501_123456",
        "anna-mueller-passport",
        "/home/anna/photo.png",
        "C:\\photo.png",
        "probe-/etc/passwd",
        "probe-photo.jpg",
        f"{'a' * 32}\n",
        f"{'a' * 32}/x",
        "10.1.2.3",
    ],
)
def test_what_could_be_a_name_is_not_kept(name: str, log: Path) -> None:
    recorder = Recorder(Segments(log))
    recorder.note(name, tensors(1.0))
    recorder.close()
    [written] = lines(log)
    assert written.request_id == ""
    assert name.strip() not in next(log.iterdir()).read_text()


def test_each_picture_of_a_request_has_a_line(log: Path) -> None:
    recorder = Recorder(Segments(log))
    recorder.note("a" * 32, tensors(-3.0, 0.0, 3.0))
    recorder.note("b" * 32, tensors(-3.0))
    recorder.close()
    found = lines(log)
    assert [each.request_id for each in found] == [f"{'a' * 32}#{place}" for place in range(3)] + ["b" * 32]
    assert [each.verdict for each in found] == ["real", "unsure", "ai_generated", "real"]
    assert [each.logit for each in found] == [-3.0, 0.0, 3.0, -3.0]
    assert abs(found[0].time - time.time()) < 60
    assert recorder.counts() == {"written": 4, "full": 0, "invalid": 0}


@pytest.mark.parametrize(
    "broken",
    [
        tensors(float("nan")),
        tensors(float("inf")),
        [*tensors(1.0)[:2], np.float32([[1.0]]), np.float32([POINT])],
        [*tensors(1.0)[:3], np.float32([[3.0, 0.5, 0.9, 0.1, 96.0, 2.5]])],
        [None] * 4,
        [],
        [np.float32(1.0)] * 4,
        tensors(1.0)[:3],
    ],
)
def test_what_is_no_answer_is_counted_and_passed_over(broken: list[np.ndarray], log: Path) -> None:
    recorder = Recorder(Segments(log))
    recorder.note("", broken)
    recorder.note("", tensors(1.0))
    recorder.close()
    assert len(lines(log)) == 1
    assert recorder.counts()["invalid"] == 1


def test_without_a_directory_nothing_is_written() -> None:
    recorder = from_environment({LOG_VARIABLE: ""})
    recorder.note("", tensors(1.0))
    recorder.close()
    assert recorder.counts() == {"written": 0, "full": 0, "invalid": 0}


@pytest.mark.parametrize("size", ["", "much", "-1", "nan", "0"])
def test_a_size_that_is_none_does_not_keep_the_server_down(size: str, log: Path) -> None:
    recorder = from_environment({LOG_VARIABLE: str(log), SIZE_VARIABLE: size})
    recorder.note("", tensors(1.0))
    recorder.close()
    assert len(lines(log)) == 1


def test_segments_are_rotated_and_the_oldest_deleted(log: Path) -> None:
    megabytes, size = 0.04, 40_000
    segments = Segments(log, megabytes)
    for number in range(2000):
        assert segments.append([record(number)]) == 1
        assert sum(path.stat().st_size for path in log.iterdir()) <= size
    segments.close()
    found = [int(each.request_id, 16) for each in lines(log)]
    assert found == list(range(found[0], 2000)), "the newest, without a hole"
    assert len(found) > 60
    assert 6 <= len(list(log.iterdir())) <= 8
    assert segments.written == 2000


def test_a_clock_that_was_ahead_costs_nothing_new(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Segments(log, 0.04)
    for number in range(160):
        segments.append([record(number)])
    ahead = time.time() + 3e7
    for path in log.iterdir():
        os.utime(path, (ahead, ahead))
    monkeypatch.setattr(time, "time_ns", lambda now=time.time_ns: now() - 3 * 10**16)
    for number in range(160, 320):
        segments.append([record(number)])
        os.utime(max(log.iterdir()), ns=(time.time_ns(), time.time_ns()))  # as the kernel would by that clock
    segments.close()
    found = [int(each.request_id, 16) for each in lines(log)]
    assert found == list(range(found[0], 320)), "the newest, in order, without a hole"


def test_a_large_batch_fills_several_segments(log: Path) -> None:
    segments = Segments(log, 0.04)
    assert segments.append([record(number) for number in range(40)]) == 40
    segments.close()
    assert [int(each.request_id, 16) for each in lines(log)] == list(range(40))
    assert max(path.stat().st_size for path in log.iterdir()) <= 5000


def test_the_segment_of_another_writer_is_not_deleted_while_it_is_used(log: Path) -> None:
    quiet, busy = Segments(log, 0.04), Segments(log, 0.04)
    quiet.append([record(7)])
    [used] = log.iterdir()
    for number in range(300):
        busy.append([record(number)])
        if number % 40 == 0:
            quiet.append([record(7)])
    assert used.exists()


def test_files_are_not_for_everybody(log: Path) -> None:
    segments = Segments(log)
    segments.append([record()])
    [path] = log.iterdir()
    assert path.stat().st_mode & 0o007 == 0


def test_a_directory_that_goes_is_made_again(log: Path) -> None:
    segments = Segments(log)
    segments.append([record(1)])
    for path in log.iterdir():
        path.unlink()
    log.rmdir()
    assert segments.append([record(2)]) == 1
    assert [int(each.request_id, 16) for each in lines(log)] == [2]


def test_a_directory_that_cannot_be_made_costs_lines_and_no_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder = Recorder(Segments(tmp_path / "file" / "predictions"))
    assert offers(recorder, 9000) < 5.0
    assert recorder.counts()["full"] == 9000 - 8192
    assert recorder.counts()["written"] == 0
    recorder.close()


def offers(recorder: Recorder, count: int) -> float:
    one, started = tensors(1.0), time.monotonic()
    for _ in range(count):
        recorder.note("", one)
    return time.monotonic() - started


def test_a_full_disk_costs_no_line_once_it_has_room_again(log: Path, disk: Disk) -> None:
    """The kernel's own /dev/full says what a full disk says."""
    recorder = Recorder(Segments(log))
    full = threading.Event()
    disk.opens = lambda: full.set() or disk.real("/dev/full", os.O_WRONLY)
    for number in range(10):
        recorder.note(f"{number:032x}", tensors(1.0))
    assert full.wait(10)
    time.sleep(0.3)
    assert recorder.counts() == {"written": 0, "full": 0, "invalid": 0}
    disk.opens = None
    wait_for(lambda: recorder.counts()["written"] == 10)
    recorder.close()
    assert [int(each.request_id, 16) for each in lines(log)] == list(range(10))


def test_a_line_cut_by_a_full_disk_is_written_again_whole(log: Path) -> None:
    """RLIMIT_FSIZE: the kernel writes the part that fits, then refuses, as a disk does that fills up in a line."""
    program = f"""
import resource, signal
from pathlib import Path
from veriphoto.prediction_log.recorder import make_record
from veriphoto.prediction_log.segments import Segments
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
segments = Segments(Path({str(log)!r}))
records = [make_record(f"{{number:032x}}", -1.5, 0.18, {STATISTICS}, {POINT}, {OPINIONS}) for number in range(7)]
assert segments.append(records) == 7
assert segments.written == 7
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    found, cut = [], 0
    for path in sorted(log.iterdir()):
        *whole, last = path.read_bytes().splitlines(keepends=True)
        if last.endswith(b"\n"):
            whole.append(last)
        else:
            cut += 1
        found += [int(Record.from_line(line).request_id, 16) for line in whole]
    assert found == list(range(7))
    assert cut >= 1


def test_a_disk_that_stays_full_is_not_littered(log: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    segments = Segments(log)
    monkeypatch.setattr(segments_module.os, "write", fail)
    for _ in range(5):
        assert segments.append([record()]) == 0
    assert list(log.iterdir()) == []


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_disk_that_hangs_holds_up_nobody(log: Path, disk: Disk, pipe: tuple[int, int]) -> None:
    """A pipe that nobody reads: the write blocks for good, and only the thread waits."""
    reads, writes = pipe
    disk.opens = lambda: os.dup(writes)
    recorder = Recorder(Segments(log))
    while recorder.counts()["full"] == 0:
        offers(recorder, 500)
        assert recorder.counts()["written"] < 1000
    assert offers(recorder, 1000) < QUICK_S * 4
    full = recorder.counts()["full"]
    assert full >= 1000
    started = time.monotonic()
    recorder.close()
    assert time.monotonic() - started < 4.0, "a hanging disk may not hold up the end either"
    os.set_blocking(reads, False)
    wait_for(lambda: _drained(reads, recorder))


def _drained(reads: int, recorder: Recorder) -> bool:
    """Lets the thread of the test before go its way."""
    try:
        os.read(reads, 1 << 20)
    except BlockingIOError:
        return recorder.counts()["written"] >= 8192
    return False


def test_work_that_raises_costs_its_items_only() -> None:
    taken: list[int] = []

    def work(items: list[int]) -> int:
        if 3 in items:
            raise RuntimeError("this batch is bad")
        taken.extend(items)
        return len(items)

    background = Background(work, "test")
    for number in (1, 2):
        background.offer(number)
    wait_for(lambda: taken == [1, 2])
    background.offer(3)
    wait_for(lambda: background.dropped == 1)
    background.offer(4)
    assert background.close()
    assert taken == [1, 2, 4]
