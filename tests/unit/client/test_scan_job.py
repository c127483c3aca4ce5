"""Whole scans over the fake transport: the accounts must balance whatever happens."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import threading
from collections import Counter
from pathlib import Path

import pytest
from photo_corpus import picture, write_corpus
from rich.console import Console

from veriphoto.errors import (
    DeadlineExceededError,
    OverloadedError,
    ServiceError,
    ServiceUnavailableError,
)
from veriphoto_client import AsyncDetector, FakeTransport
from veriphoto_client.scan import ScanOptions, ScanReport, job, scan
from veriphoto_client.scan.resume import Standing
from veriphoto_client.scan.walk import walk
from veriphoto_client.sdk.probe import probe_picture

POISON = picture(99)


def run(fake: FakeTransport, paths: list[Path], output: Path, **options: float) -> ScanReport:
    report = ScanReport()

    async def work() -> None:
        async with AsyncDetector(transport=fake, max_in_flight=8) as detector:
            chosen = ScanOptions(paths=paths, output=output, **options)
            await scan(chosen, detector, Console(file=io.StringIO()), report)

    asyncio.run(work())
    return report


def rows(output: Path) -> list[dict[str, str]]:
    with output.open(newline="") as file:
        if output.suffix == ".jsonl":
            return [json.loads(line) for line in file]
        return list(csv.DictReader(file, strict=True))


def assert_once_each(output: Path, sound: set[str], broken: set[str]) -> None:
    found = rows(output)
    assert Counter(row["path"] for row in found) == Counter(sound | broken)
    assert {row["path"] for row in found if not row["error"]} == sound
    assert all(bool(row["verdict"]) != bool(row["error"]) for row in found)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_thousand_files_of_which_fifty_are_broken(tmp_path, suffix):
    sound, broken = write_corpus(tmp_path / "photos", 1000, 50)
    output = tmp_path / f"out{suffix}"
    fake = FakeTransport()
    report = run(fake, [tmp_path / "photos"], output)
    assert (report.scored, report.failed) == (950, 50)
    assert_once_each(output, sound, broken)
    codes = Counter(row["error"].split("]")[0] for row in rows(output) if row["error"])
    assert {"[unreadable_file", "[not_an_image", "[unsupported_format", "[truncated_image", "[file_too_large"} <= set(
        codes
    )
    assert fake.most_in_flight > 1

    asked = fake.requests
    again = run(fake, [tmp_path / "photos"], output)
    assert (again.scored, again.failed, again.unchanged) == (0, 50, 950)
    assert again.standings == {Standing.FAILED: 50}
    assert not again.complete
    # The knock at the door, and the broken ones again, but for those that cannot be read or are too large to send.
    assert fake.requests == asked + 1 + 7 * 5
    assert_once_each(output, sound, broken)


def test_a_torn_output_is_gone_on_with(tmp_path):
    sound, broken = write_corpus(tmp_path / "photos", 100, 10)
    output = tmp_path / "out.csv"
    run(FakeTransport(), [tmp_path / "photos"], output)
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    report = run(FakeTransport(), [tmp_path / "photos"], output)
    assert 0 < report.scored + report.failed < 100
    assert report.unchanged + report.scored + report.failed == 100
    assert_once_each(output, sound, broken)


def test_an_output_inside_the_folder_is_not_scored(tmp_path):
    sound, broken = write_corpus(tmp_path, 10, 1)
    run(FakeTransport(), [tmp_path], tmp_path / "out.csv")
    run(FakeTransport(), [tmp_path], tmp_path / "out.csv")
    assert_once_each(tmp_path / "out.csv", sound, broken)


def test_nothing_to_scan_is_all_scored(tmp_path):
    (tmp_path / "empty").mkdir()
    report = run(FakeTransport(), [tmp_path / "empty"], tmp_path / "out.csv")
    assert report.complete
    assert rows(tmp_path / "out.csv") == []


@pytest.mark.parametrize("error", [OverloadedError, ServiceUnavailableError, DeadlineExceededError])
def test_a_bad_moment_is_waited_out(tmp_path, error):
    sound, broken = write_corpus(tmp_path / "photos", 30, 3)
    calls = Counter()

    def moody(data: bytes):
        calls["all"] += 1
        if 5 <= calls["all"] < 25:
            raise error("a bad moment")
        return FakeTransport.answer(data)

    report = run(FakeTransport(moody), [tmp_path / "photos"], tmp_path / "out.csv", patience=20)
    assert (report.scored, report.failed) == (27, 3)
    assert_once_each(tmp_path / "out.csv", sound, broken)


@pytest.mark.parametrize("error", [OverloadedError, ServiceUnavailableError, DeadlineExceededError, ServiceError])
def test_a_server_that_goes_leaves_no_rows_behind(tmp_path, error):
    sound, broken = write_corpus(tmp_path / "photos", 60, 6)
    output = tmp_path / "out.csv"
    calls = Counter()

    def dying(data: bytes):
        calls["all"] += 1
        if calls["all"] > 20:
            raise error("gone")
        return FakeTransport.answer(data)

    with pytest.raises(error):
        run(FakeTransport(dying), [tmp_path / "photos"], output, patience=0.3)
    written = rows(output)
    assert 0 < len(written) < 60
    assert not any("gone" in row["error"] for row in written)
    run(FakeTransport(), [tmp_path / "photos"], output)
    assert_once_each(output, sound, broken)


@pytest.mark.parametrize("error", [ServiceUnavailableError, DeadlineExceededError, ServiceError])
def test_a_file_that_kills_the_model_gets_the_blame(tmp_path, error):
    sound, broken = write_corpus(tmp_path / "photos", 20, 2)
    poison = tmp_path / "photos" / "poison.jpg"
    poison.write_bytes(POISON)

    def handler(data: bytes):
        if data == POISON:
            raise error("the model died")
        return FakeTransport.answer(data)

    report = run(FakeTransport(handler), [tmp_path / "photos"], tmp_path / "out.csv", patience=0.2)
    assert (report.scored, report.failed) == (18, 3)
    assert_once_each(tmp_path / "out.csv", sound, broken | {str(poison)})
    (row,) = [row for row in rows(tmp_path / "out.csv") if row["path"] == str(poison)]
    assert row["error"] == f"[{error.code}] the model died"


def test_a_server_that_was_never_there_stops_the_scan_before_it_writes(tmp_path):
    def away(_: bytes):
        raise ServiceUnavailableError("nobody home")

    write_corpus(tmp_path / "photos", 3, 0)
    with pytest.raises(ServiceUnavailableError):
        run(FakeTransport(away), [tmp_path / "photos"], tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_only_as_many_files_are_open_as_are_in_flight(tmp_path):
    write_corpus(tmp_path / "photos", 40, 0)
    fake = FakeTransport(delay=0.01)
    run(fake, [tmp_path / "photos"], tmp_path / "out.csv", in_flight=3)
    assert fake.most_in_flight == 3


def test_the_summary_tells_what_happened(tmp_path):
    write_corpus(tmp_path / "photos", 20, 2)
    output = tmp_path / "out.csv"
    report = run(FakeTransport(), [tmp_path / "photos"], output)
    first, *others = report.summary(output).splitlines()
    assert re.fullmatch(r"20 files in \d+\.\d s, \d+\.\d images/s", first)
    kinds = ", ".join(f"{count} {verdict}" for verdict, count in sorted(report.verdicts.items()))
    assert others == [
        f"  scored:   18 ({kinds})",
        f"  failed:   2 (reasons under 'error' in {output})",
        "  files:    20 new",
    ]
    again = run(FakeTransport(), [tmp_path / "photos"], output).summary().splitlines()
    assert again[1:] == [
        "  scored:   0",
        "  failed:   2 (reasons under 'error' in the output)",
        "  files:    2 again after a failure, 18 unchanged",
    ]


def test_the_test_picture_has_no_row(tmp_path):
    seen = []

    def handler(data: bytes):
        seen.append(data)
        return FakeTransport.answer(data)

    write_corpus(tmp_path / "photos", 2, 0)
    run(FakeTransport(handler), [tmp_path / "photos"], tmp_path / "out.csv")
    assert seen[0] == probe_picture()
    assert len(rows(tmp_path / "out.csv")) == 2


def test_answers_come_in_while_the_walk_looks_for_the_next_file(tmp_path, monkeypatch):
    """A million unchanged files, or a slow disk, must not let the requests of other files time out."""
    write_corpus(tmp_path / "photos", 3, 0)
    answered, waited = threading.Event(), []

    def slow(*arguments, **options):
        for place, found in enumerate(walk(*arguments, **options)):
            if place:
                waited.append(answered.wait(10))
            yield found

    def answer(data: bytes):
        if data != probe_picture():
            answered.set()
        return FakeTransport.answer(data)

    monkeypatch.setattr(job, "walk", slow)
    report = run(FakeTransport(answer), [tmp_path / "photos"], tmp_path / "out.csv")
    assert report.scored == 3
    assert all(waited)
