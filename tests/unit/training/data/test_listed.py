"""``veriphoto data fetch photos`` from repositories made here, by mirror and by git's own protocol."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from training_pictures import encoded, textured
from typer.testing import CliRunner

from veriphoto.errors import DataError, MissingExtraError, UsageError
from veriphoto_training.commands.data import register
from veriphoto_training.data import listed, repositories
from veriphoto_training.data.dataset import read_dataset

COLUMNS = ["repo", "commit", "blob", "original", "label", "source", "generator", "group", "product", "licence", "how"]
Row = dict[str, str]
Write = Callable[[list[Row]], Path]


def git(place: Path, *arguments: str, given: bytes = b"") -> str:
    who = {f"GIT_{who}_{what}": "a@b.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **who}
    command = ["git", f"--git-dir={place}", *arguments]
    return subprocess.run(command, input=given, env=env, check=True, stdout=subprocess.PIPE).stdout.decode().strip()


def repository(place: Path, files: dict[str, bytes]) -> tuple[str, dict[str, str]]:
    """Makes a bare repository of one commit that serves as GitHub does; returns the commit and the blobs by name."""
    subprocess.run(["git", "init", "--quiet", "--bare", str(place)], check=True)
    for setting in ("allowFilter", "allowAnySHA1InWant"):
        git(place, "config", f"uploadpack.{setting}", "true")
    blobs = {name: git(place, "hash-object", "-w", "--stdin", given=data) for name, data in files.items()}
    tree = git(place, "mktree", given="".join(f"100644 blob {i}\t{name}\n" for name, i in blobs.items()).encode())
    commit = git(place, "commit-tree", tree, "-m", "photos")
    git(place, "update-ref", "refs/heads/main", commit)
    return commit, blobs


FILES = {
    "a.jpg": encoded(textured(1), quality=90),
    "b.png": encoded(textured(2, size=(600, 500)), "PNG"),
    "c.jpg": encoded(textured(3), quality=80),
}


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Three photos in two repositories under ``tmp_path / "far"``."""
    made = []
    for name, files in (("shop/one", ("a.jpg", "b.png")), ("Al-ice/t.wo", ("c.jpg",))):
        commit, blobs = repository(tmp_path / "far" / name, {file: FILES[file] for file in files})
        for file, blob in blobs.items():
            label = "ai" if file == "b.png" else "real"
            how = "native crop of PNG, JPEG q95 4:4:4; c2pa" if label == "ai" else "original bytes; real by date"
            made.append(
                dict(zip(COLUMNS, (name, commit, blob, file, label, "src", "", file, "yes", "MIT", how), strict=True))
            )
    return made


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(rows: list[Row]) -> Path:
        path = tmp_path / "list.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        return path

    return make


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    app.command("other")(lambda: None)
    return app


def fetch(app: typer.Typer, *arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["data", "fetch", "photos", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def reasons(output: Path) -> dict[str, str]:
    with (output / "missing.csv").open(newline="") as file:
        return {row["original"]: row["reason"] for row in csv.DictReader(file)}


def test_a_missing_tool_is_named_before_anything_is_fetched(
    app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows[-1]["how"] = "lossless native crop of JPEG; real by date"
    monkeypatch.setitem(sys.modules, "jpeglib", None)  # as where it is not installed
    with pytest.raises(MissingExtraError, match="jpeglib"):
        fetch(app, "--list", write(rows), "--output", tmp_path / "out", "--mirrors", tmp_path / "far")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("way", ["mirrors", "remote"])
def test_a_list_becomes_a_data_set(app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path, way: str) -> None:
    far = tmp_path / "far"
    options = ("--mirrors", far) if way == "mirrors" else ("--remote", f"file://{far}")
    code, said = fetch(app, "--list", write(rows), "--output", tmp_path / "out", *options)
    assert code == 0, said
    found = {one.path.rsplit(".")[0][-1]: one for one in read_dataset(tmp_path / "out").pictures}
    assert set(found) == {"o", "c"}
    pictures = read_dataset(tmp_path / "out").pictures
    assert {one.data for one in pictures if not one.label} == {FILES["a.jpg"], FILES["c.jpg"]}
    assert {(one.source, one.group) for one in pictures} == {("src", "a.jpg"), ("src", "b.png"), ("src", "c.jpg")}
    assert reasons(tmp_path / "out") == {}
    assert not list((tmp_path / "out").glob(".repository-*"))


def test_what_is_gone_is_told_and_the_rest_is_kept(
    app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path
) -> None:
    away = {**rows[0], "repo": "shop/away", "blob": "5" * 40, "original": "away"}
    other = {**rows[0], "blob": "1" * 40, "original": "no blob"}
    lost = {**rows[0], "blob": "2" * 40, "commit": "3" * 40, "original": "no commit"}
    unknown = {**rows[0], "blob": "4" * 40, "how": "original bytes; cell 0 of grid", "original": "cell"}
    moved = {**rows[0], "commit": "3" * 40, "source": "moved"}  # the blob is still there
    listing = write([*rows, away, other, lost, unknown, moved])
    for number, options in enumerate((("--mirrors", tmp_path / "far"), ("--remote", f"file://{tmp_path}/far"))):
        output = tmp_path / f"out{number}"
        code, said = fetch(app, "--list", listing, "--output", output, *options)
        assert code == 1
        expected = {"away": "repository", "no blob": "blob", "no commit": "commit", "cell": "cut_unknown"}
        assert reasons(output) == expected, options
        assert len(read_dataset(output).pictures) == len(rows) + 1
        assert "missing: 4" in said


def test_it_goes_on_where_it_was_stopped(app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path) -> None:
    arguments = ("--list", write(rows), "--output", tmp_path / "out", "--mirrors", tmp_path / "far")
    fetch(app, *arguments)
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        paths = {row["original"]: tmp_path / "out" / row["path"] for row in csv.DictReader(file)}
    # As a kill leaves it: one photo done, one in part, one not begun; no manifest.
    (tmp_path / "out" / "manifest.csv").unlink()
    paths["a.jpg"].write_bytes(marked := FILES["a.jpg"] + b"mark")
    paths["b.png"].rename(paths["b.png"].with_name(paths["b.png"].name + ".part")).write_bytes(b"half")
    paths["c.jpg"].unlink()
    (tmp_path / "out" / ".repository-dead").mkdir()
    code, said = fetch(app, *arguments)
    assert code == 0
    assert "1 of them were there before" in said
    assert paths["a.jpg"].read_bytes() == marked  # not fetched again
    assert paths["c.jpg"].read_bytes() == FILES["c.jpg"]
    assert len(read_dataset(tmp_path / "out").pictures) == 3
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not (tmp_path / "out" / ".repository-dead").exists()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("repo", "../../etc"),
        ("repo", "--upload-pack=touch x/y"),
        ("repo", "shop/.."),
        ("repo", "a/b/c"),
        ("repo", "shop/one\n"),
        ("commit", "--output=x"),
        ("commit", "HEAD"),
        ("blob", "main:a.jpg"),
        ("blob", "1" * 41),
        ("label", "../real"),
        ("source", "../../out"),
        ("source", ".hidden"),
        ("source", ""),
    ],
)
def test_a_hostile_list_is_refused_whole(
    app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path, column: str, value: str
) -> None:
    listing = write([rows[0], {**rows[1], column: value}])
    with pytest.raises(DataError, match=f"row 3: {column}"):
        fetch(app, "--list", listing, "--output", tmp_path / "out", "--mirrors", tmp_path / "far")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "remote", ["ext::sh -c touch% pwned", "ssh://host/x", "-x", "http://host", "/srv", "https://-o"]
)
def test_only_https_and_file_are_asked(
    app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path, remote: str
) -> None:
    with pytest.raises(UsageError, match="--remote"):
        fetch(app, "--list", write(rows), "--output", tmp_path / "out", "--remote", remote)


def test_git_itself_refuses_other_protocols(tmp_path: Path) -> None:
    with pytest.raises(repositories.FetchError, match="transport 'ext' not allowed"):
        repositories.download(f"ext::touch {tmp_path}/pwned", ["1" * 40], ["2" * 40], tmp_path / "git")
    assert not (tmp_path / "pwned").exists()


def test_settings_and_hooks_of_the_user_are_not_obeyed(
    app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text(f'[url "file://{tmp_path}/nowhere/"]\n  insteadOf = file://\n')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    arguments = ("--list", write(rows), "--output", tmp_path / "out", "--remote", f"file://{tmp_path}/far")
    assert fetch(app, *arguments)[0] == 0


def test_what_is_no_photo_or_too_large_is_refused(
    app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "MAX_FILE_BYTES", 50_000)
    files = {
        "page.jpg": b"<html>",
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\n",
        "big.png": FILES["b.png"],
    }
    commit, blobs = repository(tmp_path / "far" / "shop+odd", files)
    odd = [
        {**rows[0], "repo": "shop/odd", "commit": commit, "blob": blob, "original": name}
        for name, blob in blobs.items()
    ]
    odd.append(
        {**odd[0], "blob": git(tmp_path / "far" / "shop+odd", "rev-parse", f"{commit}^{{tree}}"), "original": "tree"}
    )
    code, _ = fetch(app, "--list", write(odd), "--output", tmp_path / "out", "--mirrors", tmp_path / "far")
    assert code == 1
    assert reasons(tmp_path / "out") == {
        "page.jpg": "not_a_picture",
        "lfs.png": "not_a_picture",
        "big.png": "too_large",
        "tree": "blob",
    }


def test_a_blob_that_is_not_what_its_id_says_never_counts(
    app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path
) -> None:
    place = tmp_path / "far" / rows[2]["repo"]
    blob = rows[2]["blob"]
    stored = place / "objects" / blob[:2] / blob[2:]
    other = git(place, "hash-object", "-w", "--stdin", given=FILES["a.jpg"])
    stored.chmod(0o644)
    stored.write_bytes((place / "objects" / other[:2] / other[2:]).read_bytes())
    code, _ = fetch(app, "--list", write(rows), "--output", tmp_path / "out", "--mirrors", tmp_path / "far")
    assert code == 1
    assert reasons(tmp_path / "out") == {"c.jpg": "try_again"}


def test_a_folder_of_something_else_is_left_alone(
    app: typer.Typer, rows: list[Row], write: Write, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.csv").write_text("precious")
    arguments = ("--list", write(rows), "--mirrors", tmp_path / "far", "--output")
    with pytest.raises(UsageError, match="something else"):
        fetch(app, *arguments, tmp_path / "mine")
    assert (tmp_path / "mine" / "manifest.csv").read_text() == "precious"
    with listed._locked(tmp_path / "busy"), pytest.raises(UsageError, match="another run"):
        fetch(app, *arguments, tmp_path / "busy")


def test_a_stuck_git_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nsleep 60 & wait\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(repositories, "_TIMEOUT", 0.2)
    with pytest.raises(repositories.FetchError, match="took more than") as caught:
        repositories.download("file:///nowhere", [], [], tmp_path / "place")
    assert not caught.value.gone


def test_the_committed_list_can_be_read() -> None:
    rows = listed.read_list(Path("training/photo_sources.csv"))
    assert len({row.stem for row in rows}) == len(rows)
    assert sum(row.cut is None for row in rows) <= 4
