"""A scan run again: what is new, failed or changed is scored, what is not keeps its row, and every file has one."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photo_corpus import picture
from test_scan_job import rows, run

from veriphoto.contract import OPERATING_POINT
from veriphoto.errors import ServiceUnavailableError
from veriphoto_client import FakeTransport
from veriphoto_client.scan import walk as walking
from veriphoto_client.scan.resume import Standing
from veriphoto_client.scan.rows import COLUMNS_WITHOUT_STAMP
from veriphoto_client.sdk.fake import FAKE_POINT

SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
BRIGHT, DARK = picture(3), picture(4)


def fill(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.jpg").write_bytes(content)
    return folder


def by_name(output: Path) -> dict[str, dict[str, str]]:
    found = {row["path"]: row for row in rows(output)}
    assert len(found) == len(rows(output))
    return found


@SUFFIXES
def test_the_same_name_in_another_folder_is_another_file(tmp_path, suffix, monkeypatch):
    output = tmp_path / f"all{suffix}"
    for shop in ("shop1", "shop2"):
        fill(tmp_path / shop / "photos", a=picture(), b=picture(1))
        monkeypatch.chdir(tmp_path / shop)
        assert run(FakeTransport(), [Path("photos")], Path("..") / output.name).standings == {Standing.NEW: 2}
    assert len(by_name(output)) == 4
    monkeypatch.chdir(tmp_path)
    report = run(FakeTransport(), [Path("shop1/photos"), Path("shop2")], Path(output.name))
    assert (report.scored, report.unchanged) == (0, 4)
    assert set(by_name(output)) == {str(tmp_path / f"shop{n}/photos/{name}.jpg") for n in (1, 2) for name in "ab"}


@SUFFIXES
def test_a_repaired_file_is_scored_and_its_error_goes(tmp_path, suffix):
    photos, output = fill(tmp_path / "photos", a=BRIGHT[:300], b=DARK), tmp_path / f"out{suffix}"
    assert not run(FakeTransport(), [photos], output).complete
    fill(photos, a=BRIGHT)
    report = run(FakeTransport(), [photos], output)
    assert report.complete
    assert (report.standings, report.unchanged) == ({Standing.FAILED: 1}, 1)
    assert not any(row["error"] for row in by_name(output).values())


@SUFFIXES
def test_a_changed_file_gets_a_new_verdict(tmp_path, suffix):
    photos, output = fill(tmp_path / "photos", a=BRIGHT, b=DARK), tmp_path / f"out{suffix}"
    run(FakeTransport(), [photos], output)
    before = by_name(output)
    fill(photos, a=DARK)
    report = run(FakeTransport(), [photos], output)
    assert (report.standings, report.unchanged) == ({Standing.CHANGED: 1}, 1)
    after = by_name(output)
    a, b = str(photos / "a.jpg"), str(photos / "b.jpg")
    assert after[a]["probability"] == after[b]["probability"] == before[b]["probability"] != before[a]["probability"]


def same_size(path: Path) -> None:
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1000))


def same_time(path: Path) -> None:
    times = path.stat()
    path.write_bytes(path.read_bytes() + b"!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def to_link(path: Path) -> None:
    path.with_name("other.png").write_bytes(DARK)
    path.unlink()
    path.symlink_to("other.png")


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [same_size, same_time, to_link, to_fifo])
def test_every_kind_of_change_is_noticed(tmp_path, change: Callable[[Path], None]):
    photos, output = fill(tmp_path / "photos", a=BRIGHT), tmp_path / "out.csv"
    run(FakeTransport(), [photos], output)
    change(photos / "a.jpg")
    assert run(FakeTransport(), [photos], output).standings[Standing.CHANGED] == 1
    by_name(output)


def test_force_scores_all_again(tmp_path):
    photos, output = fill(tmp_path / "photos", a=BRIGHT, b=DARK, c=b"broken"), tmp_path / "out.csv"
    run(FakeTransport(), [photos], output)
    report = run(FakeTransport(), [photos], output, force=True)
    assert report.standings == {Standing.UNCHANGED: 2, Standing.FAILED: 1}
    assert "files:    1 again after a failure, 2 forced" in report.summary()
    assert len(by_name(output)) == 3


def of_version(version: int) -> FakeTransport:
    point = np.asarray([replace(FAKE_POINT, model_version=version).to_tensor()], dtype=np.float32)
    return FakeTransport(lambda data: {**FakeTransport.answer(data), OPERATING_POINT: point})


@SUFFIXES
def test_rows_kept_from_other_versions_are_told_with_what_scores_them_anew(tmp_path, suffix):
    output = tmp_path / f"out{suffix}"
    run(of_version(1), [fill(tmp_path / "photos", a=BRIGHT, b=DARK, c=b"broken")], output)
    photos = fill(tmp_path / "photos", d=DARK)
    assert "other model versions" not in run(of_version(1), [photos], output).summary()
    for added in ({"e": BRIGHT}, {}):  # the version is known where nothing is left to score, too
        summary = run(of_version(3), [fill(photos, **added)], output).summary()
        assert "kept rows of other model versions: 3 of version 1 (--force scores all photos with version 3)" in summary
    assert "3 of version 1, 1 of version 3 (--force" in run(of_version(4), [photos], output).summary()
    forced = run(of_version(4), [photos], output, force=True)
    assert "other model versions" not in forced.summary()
    assert {row["model_version"] for row in rows(output) if row["verdict"]} <= {"4", 4}
    assert "other model versions" not in run(of_version(4), [photos], output).summary()


def test_rows_of_other_files_stay_and_do_not_fail_a_scan_that_did_not(tmp_path):
    output = tmp_path / "out.csv"
    run(FakeTransport(), [fill(tmp_path / "bad", a=b"broken", b=b"broken")], output)
    (tmp_path / "bad" / "b.jpg").unlink()
    report = run(FakeTransport(), [fill(tmp_path / "good", a=BRIGHT)], output)
    assert report.complete
    assert "2 rows of files that were not found now hold an error" in report.summary()
    assert len(by_name(output)) == 3


@SUFFIXES
def test_what_a_stopped_run_left_twice_is_put_right_by_the_next(tmp_path, suffix, monkeypatch):
    """A kill comes before the end, where older rows are removed."""
    photos = fill(tmp_path / "photos", **{f"p{number}": picture(number) for number in range(20)})
    output = tmp_path / f"out{suffix}"
    run(FakeTransport(), [photos], output)
    with monkeypatch.context() as patch:
        patch.setattr("veriphoto_client.scan.output.settle", lambda *_: None)
        run(FakeTransport(), [photos], output, force=True)
    assert len(rows(output)) == 40
    output.write_bytes(output.read_bytes()[:-10])
    report = run(FakeTransport(), [photos], output)
    assert report.unchanged + report.scored == 20
    assert len(by_name(output)) == 20


def test_a_server_that_goes_leaves_one_row_a_file(tmp_path):
    photos = fill(tmp_path / "photos", **{f"p{number}": picture(number) for number in range(20)})
    output = tmp_path / "out.csv"
    run(FakeTransport(), [photos], output)
    answered = iter(range(5))

    def dying(data: bytes):
        if next(answered, None) is None:
            raise ServiceUnavailableError("gone")
        return FakeTransport.answer(data)

    with pytest.raises(ServiceUnavailableError):
        run(FakeTransport(dying), [photos], output, force=True, patience=0.1, in_flight=1)
    assert len(by_name(output)) == 20


def test_a_folder_that_can_be_listed_again_loses_its_error(tmp_path, monkeypatch):
    photos, output = fill(tmp_path / "photos", a=BRIGHT), tmp_path / "out.csv"
    locked = fill(photos / "locked", b=DARK)

    def scandir(path: str):
        if path == str(locked):
            raise PermissionError(13, "Permission denied")
        return os.scandir(path)

    for _ in range(2):  # root, who runs the tests in containers, may list everything
        with monkeypatch.context() as patch:
            patch.setattr(walking, "os", type("os", (), {**vars(os), "scandir": staticmethod(scandir)}))
            assert not run(FakeTransport(), [photos], output).complete
        assert by_name(output)[str(locked)]["error"]
    report = run(FakeTransport(), [photos], output)
    assert report.complete
    assert set(by_name(output)) == {str(photos / "a.jpg"), str(locked / "b.jpg")}


def older(output: Path, *paths: str, like: Path) -> None:
    """Writes an output as it was before rows knew their file."""
    first = [{name: row[name] for name in COLUMNS_WITHOUT_STAMP} for row in rows(like)]
    found = [{**row, "path": path} for row, path in zip(first, paths, strict=True)]
    with output.open("w", newline="") as file:
        if output.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in found)
        else:
            writer = csv.DictWriter(file, COLUMNS_WITHOUT_STAMP, lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)


@SUFFIXES
def test_an_output_of_the_older_layout_is_gone_on_with(tmp_path, suffix):
    photos, first = fill(tmp_path / "photos", a=BRIGHT, b=DARK), tmp_path / f"first{suffix}"
    run(FakeTransport(), [photos], first)
    output = tmp_path / f"out{suffix}"
    older(output, *by_name(first), like=first)
    whole = output.read_bytes()
    fill(photos, c=BRIGHT)
    (photos / "c.jpg").rename(photos / "b.jpg")
    later = time.time() + 60
    os.utime(photos / "b.jpg", (later, later))
    report = run(FakeTransport(), [photos], output)
    assert (report.standings, report.unchanged) == ({Standing.CHANGED: 1}, 1)
    assert by_name(output)[str(photos / "a.jpg")]["size"]
    output.write_bytes(whole[:-5])  # torn as well
    run(FakeTransport(), [photos], output)
    assert len(by_name(output)) == 2


@SUFFIXES
def test_relative_paths_of_the_older_layout_never_hide_a_file(tmp_path, suffix, monkeypatch):
    """Its rows are replaced where they are about the file of today, and kept where they may be about another one."""
    fill(tmp_path / "shop1" / "photos", a=BRIGHT, b=DARK)
    fill(tmp_path / "shop2" / "photos", a=BRIGHT, b=BRIGHT)
    first, output = tmp_path / f"first{suffix}", tmp_path / f"all{suffix}"
    run(FakeTransport(), [tmp_path / "shop1"], first)
    older(output, *(os.path.relpath(path, tmp_path / "shop1") for path in by_name(first)), like=first)
    monkeypatch.chdir(tmp_path / "shop2")
    for expected in ({Standing.CHANGED: 2}, {}):
        assert run(FakeTransport(), [Path("photos")], output).standings == expected
        assert set(by_name(output)) == {"photos/b.jpg", *(str(tmp_path / f"shop2/photos/{name}.jpg") for name in "ab")}
    monkeypatch.chdir(tmp_path / "shop1")
    run(FakeTransport(), [Path("photos")], output)
    assert set(by_name(output)) == {str(tmp_path / f"shop{n}/photos/{name}.jpg") for n in (1, 2) for name in "ab"}


def test_an_empty_output_of_the_older_layout_gets_todays_header(tmp_path):
    output = tmp_path / "out.csv"
    output.write_text(",".join(COLUMNS_WITHOUT_STAMP) + "\n")
    run(FakeTransport(), [fill(tmp_path / "photos", a=BRIGHT)], output)
    assert len(by_name(output)) == 1


def test_an_output_behind_a_link_stays_behind_it(tmp_path):
    photos, output = fill(tmp_path / "photos", a=BRIGHT), tmp_path / "disk" / "out.csv"
    output.parent.mkdir()
    (tmp_path / "out.csv").symlink_to(output)
    run(FakeTransport(), [photos], tmp_path / "out.csv")
    output.chmod(0o640)
    run(FakeTransport(), [photos], tmp_path / "out.csv", force=True)
    assert (tmp_path / "out.csv").is_symlink()
    assert output.stat().st_mode & 0o777 == 0o640
    assert len(by_name(output)) == 1
    assert [path.name for path in output.parent.iterdir()] == ["out.csv"]


def test_what_is_no_picture_is_walked_past(tmp_path):
    folder = fill(tmp_path / "photos", a=BRIGHT, text=b"no picture")
    for name in ("notes.txt", "Thumbs.db", ".DS_Store", "list.csv", "logo.svg", "empty", "BM25.txt"):
        (folder / name).write_bytes(b"" if name == "empty" else b"BM and words")
    (folder / "gone").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    for name, form in (("hash1", "JPEG"), ("hash2.bin", "PNG"), ("hash3.orig", "WEBP"), ("upper.JPG", "JPEG")):
        (folder / name).write_bytes(picture(1, form))
    (folder / "hash4").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "fake.PNG").write_bytes(b"no picture")
    output = tmp_path / "out.csv"
    fake = FakeTransport()
    report = run(fake, [folder], output)
    assert report.skipped == 9
    assert "9 skipped (no pictures)" in report.summary()
    found = {Path(path).name: bool(row["error"]) for path, row in by_name(output).items()}
    sound = dict.fromkeys(("a.jpg", "hash1", "hash2.bin", "hash3.orig", "upper.JPG"), False)
    assert found == {**sound, **dict.fromkeys(("text.jpg", "hash4", "fake.PNG"), True)}


def test_what_is_named_itself_is_never_skipped(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    report = run(FakeTransport(), [tmp_path / "notes.txt"], tmp_path / "out.csv")
    assert (report.skipped, report.failed) == (0, 1)
