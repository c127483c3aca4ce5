"""``veriphoto predict`` with many pictures: what it takes, what it prints, the contact sheet."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photo_corpus import picture
from test_client_cli import start, veriphoto

from veriphoto.errors import UsageError
from veriphoto_client import FakeTransport
from veriphoto_client.commands.contact_sheet import ContactSheet
from veriphoto_client.commands.inputs import pictures
from veriphoto_client.commands.predict import sentence
from veriphoto_client.sdk.answers import decode_answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for seed, name in enumerate(("a.jpg", "b.jpg", "more/c.png")):
        (tmp_path / "photos" / name).write_bytes(picture(seed))
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


def names(*arguments: object, stdin: bytes = b"") -> list[str]:
    return [found.name for found in pictures(map(str, arguments), io.BytesIO(stdin))]


def test_folders_globs_and_files(folder):
    all_three = {str(folder / name) for name in ("a.jpg", "b.jpg", "more/c.png")}
    assert set(names(folder)) == set(names(f"{folder}/**/*")) == all_three
    assert set(names(f"{folder}/*.jpg")) == {str(folder / "a.jpg"), str(folder / "b.jpg")}
    assert names(folder / "notes.txt") == [str(folder / "notes.txt")]
    assert names("gone.jpg") == ["gone.jpg"]
    odd = folder / "[odd].jpg"
    odd.write_bytes(picture())
    assert names(odd) == [str(odd)]
    with pytest.raises(UsageError, match="nothing matches"):
        names(f"{folder}/*.gif")


def test_lists(folder):
    listed = folder / "list.csv"
    listed.write_text(f'\ufeffid, Path\n1,a.jpg\n2,{folder}/b.jpg\n3,\n4,"more/c.png"\n', "utf-8")
    wanted = [str(folder / name) for name in ("a.jpg", "b.jpg", "more/c.png")]
    assert names(listed) == wanted
    listed.write_text("id,name\n1,a.jpg\n")
    with pytest.raises(UsageError, match="uri, path, url"):
        names(listed)
    with pytest.raises(UsageError, match="cannot be read"):
        names(folder / "gone.csv")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `ray`")
    import pyarrow  # noqa: PLC0415

    parquet.write_table(pyarrow.table({"uri": ["a.jpg", str(folder / "b.jpg"), "more/c.png"]}), folder / "list.parquet")
    assert names(folder / "list.parquet") == wanted


def test_standard_input_is_a_picture_or_paths():
    (found,) = pictures(["-"], io.BytesIO(picture(1)))
    assert (found.name, found.image) == ("-", picture(1))
    (nonsense,) = pictures(["-"], io.BytesIO(bytes(40)))
    assert nonsense.data == bytes(40)
    assert names("-", stdin=b"a.jpg\nsome where/with a long name/b.jpg\r\n\nna\xc3\xafve.jpg") == [
        "a.jpg",
        "some where/with a long name/b.jpg",
        "naïve.jpg",
    ]
    assert names("-", stdin=b"a\nb\nc\nd\n") == ["a", "b", "c", "d"]
    assert names("-") == []


def test_many_are_a_line_each_in_order(server, folder):
    given = [folder / "b.jpg", folder / "a.jpg", folder / "gone.jpg", folder / "more" / "c.png"]
    code, out, err = veriphoto("predict", *given, url=server.url)
    assert code == 1
    assert [line.partition(": ")[0] for line in out.splitlines()] == list(map(str, given))
    assert "gone.jpg: error: [unreadable_file]" in out
    assert err.startswith("4 pictures: ")
    assert ", 1 error, " in err
    assert f"scored by the server at {server.url}" in err
    code, out, _ = veriphoto("predict", *given, "--json", url=server.url)
    said = [json.loads(line) for line in out.splitlines()]
    assert [each["path"] for each in said] == list(map(str, given))
    assert ["error" in each for each in said] == [False, False, True, False]


def test_a_picture_by_standard_input(server):
    process = start("predict", "-", url=server.url, stdin=subprocess.PIPE, text=False, encoding=None)
    out, err = process.communicate(picture(1), timeout=60)
    assert (process.returncode, err.decode()) == (0, f"scored by the server at {server.url}\n")
    assert b"probability" in out


def test_a_service_that_goes_ends_it(server, folder):
    server.answer = lambda body: (503, b'{"error": "Server is exiting"}')
    code, out, err = veriphoto("predict", folder, "--engine", "server", url=server.url)
    assert (code, out) == (2, "")
    assert "[service_unavailable]" in err


def test_the_contact_sheet_is_sorted_escaped_and_complete(server, folder, tmp_path):
    evil = folder / "<img src=x onerror=alert(1)>.jpg"
    evil.write_bytes(picture(7))
    sheet = tmp_path / "out.html"
    code, out, _ = veriphoto("predict", folder, folder / "gone.jpg", "--thumbnails", sheet, "--json", url=server.url)
    page = sheet.read_text()
    scores = [
        float(score) for score in re.findall(r"(?:real|unsure|ai_generated)(?: \(\w+\))? (0\.\d{4}|1\.0000)</b>", page)
    ]
    assert code == 1
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert page.count("data:image/jpeg;base64,") == 4
    assert "onerror=alert(1)&gt;.jpg" in page
    assert "<img src=x" not in page
    assert page.index("not scored") > page.rindex("data:image")
    assert "http://" not in page
    assert "https://" not in page
    assert len(out.splitlines()) == 5


def test_names_that_are_no_text(server, folder, tmp_path):
    name = os.fsdecode(b"gone\xff\x1b[31m.jpg")
    (folder / name).symlink_to("nowhere")
    sheet = tmp_path / "out.html"
    code, out, _ = veriphoto("predict", folder, "--thumbnails", sheet, "--json", url=server.url)
    (line,) = [each for each in map(json.loads, out.splitlines()) if "gone" in each["path"]]
    assert code == 1
    assert "gone\\udcff" in line["path"]
    assert "gone\\udcff" in line["error"]
    assert "gone\\udcff" in sheet.read_text()
    out = veriphoto("predict", folder, url=server.url)[1]
    assert "gone\\udcff" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_standard_output_without_room_is_told_in_a_sentence(server, folder, arguments):
    if not Path("/dev/full").is_char_device():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("w") as full:
        process = start("predict", folder, *arguments, url=server.url, stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("error: standard output cannot be written: No space left on device")
    assert len(err.splitlines()) == 1


def test_a_sheet_that_cannot_be_written_is_refused_before_anything_is_scored(server, folder):
    for place in ("sheet.txt", "/no/such/folder/sheet.html"):
        assert veriphoto("predict", folder, "--thumbnails", place, url=server.url)[0] == 2
        with pytest.raises(UsageError, match="html"):
            ContactSheet(Path(place))
    assert not server.requests


def test_the_sentence_says_how_often_real_photos_score_as_high():
    outputs = FakeTransport.answer(picture())
    unknown = sentence(decode_answer(outputs))
    known = sentence(decode_answer({**outputs, "OPINIONS": np.array([[1, 0, 0.5, 0, 0.0125]], np.float32)}))
    assert known == f"{unknown}; of 100 real product photos about 1 score this high or higher"


def test_no_server_is_needed(folder, tmp_path):
    from brightness_model import brightness_repository  # noqa: PLC0415

    pytest.importorskip("onnxruntime", reason="needs the extra `local`")
    options = ("--engine", "local", "--model-repository", brightness_repository(tmp_path))
    code, out, err = veriphoto("predict", folder, *options)
    assert (code, len(out.splitlines())) == (0, 3), err
    assert "scored by this machine (local," in err
    code, out, err = veriphoto("predict", folder / "a.jpg", "--json", *options)
    assert (code, err[:31]) == (0, "scored by this machine (local, ")
    assert json.loads(out)["path"] == str(folder / "a.jpg"), "standard output is for programs"
    code, out, err = veriphoto("scan", folder, *options, "-o", tmp_path / "out.csv")
    assert code == 0, err
    assert "scored by this machine (local," in err
    assert "3 unchanged" in veriphoto("scan", folder, *options, "-o", tmp_path / "out.csv")[2]


def test_paths_of_any_length_cost_only_their_own_line(folder, tmp_path):
    from brightness_model import brightness_repository  # noqa: PLC0415

    pytest.importorskip("onnxruntime", reason="needs the extra `local`")
    listed = folder / "list.csv"
    names = ("path", "a.jpg", "x" * 100_000, "\N{BLACK STAR}" * 30_000, "a\0b", "b.jpg", "")
    listed.write_text("\n".join(names), "utf-8")
    options = ("--engine", "local", "--model-repository", brightness_repository(tmp_path))
    code, out, err = veriphoto("predict", listed, *options)
    assert (code, len(out.splitlines()), out.count("[unreadable_file]")) == (1, 5, 3), err


def test_neither_server_nor_models_is_exit_2(folder, tmp_path):
    code, out, err = veriphoto("scan", folder, "--engine", "local", "--model-repository", tmp_path / "gone")
    assert (code, out) == (2, "")
    assert "veriphoto serve" in err
    code, _, err = veriphoto("scan", folder, "--model-repository", tmp_path / "gone")
    assert code == 2
    assert "--engine local" in err  # the server that was named does not answer


def test_onnxruntime_that_is_missing_is_named(folder, tmp_path):
    from brightness_model import brightness_repository  # noqa: PLC0415

    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'onnxruntime' else find(name, *rest)\n"
        "from veriphoto_client.cli import main; main()"
    )
    options = ("--engine", "local", "--model-repository", str(brightness_repository(tmp_path)))
    process = subprocess.run(
        [sys.executable, "-c", code, "predict", str(folder), *options], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert "[missing_extra]" in process.stderr
    assert "[local]" in process.stderr
