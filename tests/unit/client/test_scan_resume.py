"""Outputs of earlier runs: whole, torn, and not ours."""

from __future__ import annotations

import json
import os
import resource
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
from photo_corpus import picture

from veriphoto.errors import UnreadableFileError, UsageError
from veriphoto_client import FakeTransport
from veriphoto_client.scan.output import FORMATS, Output, into, open_output
from veriphoto_client.scan.resume import Earlier, Standing
from veriphoto_client.scan.rows import failed, scored
from veriphoto_client.scan.stamps import UNKNOWN, Stamp
from veriphoto_client.sdk.answers import decode_answer

DETECTION = decode_answer(FakeTransport.answer(picture()))
STAMP = Stamp.of(1234, 1_700_000_000_123_456_789)
ROWS = [
    scored("/photos/a.jpg", DETECTION, STAMP),
    scored('/photos/say "two\nlines", please.jpg', DETECTION, STAMP),
    failed("/b.jpg", UnreadableFileError("gone")),
    scored("/photos/naïve.jpg", DETECTION, STAMP),
]
SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".jsonl"])


def write(path: Path) -> bytes:
    with open_output(path) as output:
        for row in ROWS:
            output.write(row)
    return path.read_bytes()


@SUFFIXES
def test_a_whole_output_is_known_and_kept(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    whole = write(path)
    with open_output(path) as output:
        assert len(output.earlier) == 4
        assert output.earlier.failed == 1
        standings = [output.earlier.standing(row.path, STAMP) for row in ROWS]
        assert standings == [Standing.UNCHANGED, Standing.UNCHANGED, Standing.FAILED, Standing.UNCHANGED]
        assert output.earlier.standing("/photos/c.jpg", STAMP) is Standing.NEW
        assert output.earlier.standing("/photos/a.jpg", Stamp.of(1235, 1_700_000_000_123_456_789)) is Standing.CHANGED
        assert output.earlier.standing("/photos/a.jpg", Stamp.of(1234, 1_700_000_000_123_457_000)) is Standing.CHANGED
        assert output.earlier.standing("/photos/a.jpg", UNKNOWN) is Standing.CHANGED
    assert path.read_bytes() == whole


@SUFFIXES
def test_a_torn_end_is_cut_off_wherever_it_was_torn(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    whole = write(path)
    start = len(FORMATS[suffix].header)
    ends = [start]
    for row in ROWS:
        ends.append(ends[-1] + len(FORMATS[suffix].line(row).encode()))
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = max((end for end in ends if end <= length), default=0)
        with open_output(path) as output:
            assert len(output.earlier) == max(ends.index(kept) if kept in ends else 0, 0), length
            for row in ROWS[len(output.earlier) :]:
                output.write(row)
        assert path.read_bytes() == whole, length


@SUFFIXES
def test_a_file_is_known_under_every_spelling_and_from_every_folder(tmp_path, suffix, monkeypatch):
    path, photo = tmp_path / f"out{suffix}", tmp_path / "photos" / "=b.jpg"
    photo.parent.mkdir()
    (tmp_path / "link").symlink_to(photo.parent)
    with open_output(path) as output:
        output.write(scored(str(photo), DETECTION, STAMP))
    for folder, spellings in {
        tmp_path: ("photos/=b.jpg", "./photos/=b.jpg", "photos//=b.jpg", "link/=b.jpg", str(photo)),
        photo.parent: ("=b.jpg", "./=b.jpg", "../photos/=b.jpg"),
    }.items():
        monkeypatch.chdir(folder)
        with open_output(path) as output:
            for spelling in spellings:
                assert output.earlier.standing(spelling, STAMP) is Standing.UNCHANGED
            assert output.earlier.standing("photos/photos/=b.jpg", STAMP) is Standing.NEW


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.csv", "name,age\nada,36\n"),
        ("mine.csv", "path,verdict\n"),
        ("short.csv", "path,verdict,probability,confidence,model_version,error\na,b\n"),
        ("mixed.csv", "path,verdict,probability,confidence,model_version,error\na,real,0.1,high,1,,2,\n"),
        ("words.csv", "path,verdict,probability,confidence,model_version,error,size,modified\na,real,b,high,1,,2,\n"),
        ("prose.jsonl", "my diary\n"),
        ("other.jsonl", '{"path": "a"}\n'),
        ("list.jsonl", "[1]\n"),
        ("deep.jsonl", "[" * 60_000 + "\n"),
        ("types.jsonl", json.dumps({**asdict(ROWS[0]), "probability": [0.5]}) + "\n"),
        ("dates.jsonl", json.dumps({**asdict(ROWS[0]), "modified": 5}) + "\n"),
        ("quote.csv", 'path,verdict,probability,confidence,model_version,error\n"' + 20_000 * "a,,,,,\n"),
    ],
)
def test_a_file_that_is_not_ours_is_left_alone(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UsageError, match="no output of"), open_output(path):
        pass
    assert path.read_text() == content


@pytest.mark.parametrize("name", ["out.txt", "out", "no/such/folder/out.csv"])
def test_an_output_that_cannot_be_is_refused(tmp_path, name):
    with pytest.raises(UsageError), open_output(tmp_path / name):
        pass


def test_two_scans_do_not_write_one_file(tmp_path):
    path = tmp_path / "out.csv"
    with open_output(path), pytest.raises(UsageError, match="another scan"), open_output(path):
        pass


@SUFFIXES
def test_rows_are_on_disk_at_once(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    with open_output(path) as output:
        output.write(ROWS[0])
        assert path.read_text().endswith(FORMATS[suffix].line(ROWS[0]))


def test_a_full_disk_is_said():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    file = full.open("r+b", buffering=0)
    with file, pytest.raises(UsageError, match="No space left"):
        Output(into(file), "out.csv", FORMATS[".csv"], Earlier(())).write(ROWS[0])


@SUFFIXES
def test_a_disk_that_fills_up_is_told_in_a_sentence(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    whole = write(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))
        with pytest.raises(UsageError, match="make room and run again"), open_output(path) as output:
            output.write(ROWS[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    with open_output(path) as output:
        assert len(output.earlier) == 4
    assert path.read_bytes() == whole


@SUFFIXES
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_no_output(tmp_path, suffix, kind):
    path = tmp_path / f"out{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="name another"), open_output(path):
        pass
