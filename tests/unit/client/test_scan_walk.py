"""Which files are found."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from veriphoto.errors import UnreadableFileError
from veriphoto_client.scan import walk as walk_module
from veriphoto_client.scan.walk import walk


def paths(*roots: Path, **options: Path) -> list[str]:
    found = [found.path for found in walk(roots, **options)]
    assert len(found) == len(set(found))
    return sorted(found)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("a.jpg", "sub/b.png", "sub/deep/c.txt", ".hidden/d", "sub/.DS_Store", "=e.jpg", "two\nlines.jpg"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "empty").mkdir()
    return root


def everything(tree: Path) -> list[str]:
    return sorted(str(path) for path in tree.rglob("*") if not path.is_dir())


def test_every_file_is_found_once(tree):
    assert paths(tree) == everything(tree)
    assert len(everything(tree)) == 7


def test_roots_that_overlap_are_walked_once(tree):
    assert paths(tree, tree / "sub", tree, tree / "a.jpg") == everything(tree)
    assert paths(tree / "sub", tree) == everything(tree)
    assert paths(tree / "a.jpg", tree / "a.jpg") == [str(tree / "a.jpg")]


def test_roots_beside_each_other_are_all_walked(tree):
    assert len(paths(tree / "sub", tree / ".hidden", tree / "a.jpg")) == 5


def test_links_to_files_count_and_links_to_folders_do_not(tree):
    (tree / "link.jpg").symlink_to(tree / "a.jpg")
    (tree / "gone.jpg").symlink_to(tree / "nowhere")
    (tree / "loop").symlink_to(tree)
    (tree / "sub" / "up").symlink_to("..")
    (tree / "circle").symlink_to(tree / "circle")
    found = paths(tree)
    assert len(found) == 10
    assert {str(tree / name) for name in ("link.jpg", "gone.jpg", "circle")} <= set(found)


def test_a_link_named_as_root_is_walked(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree)
    assert len(paths(tmp_path / "link")) == 7
    assert len(paths(tmp_path / "link", tree)) == 7


def test_pipes_and_sockets_count_and_are_not_opened(tree):
    os.mkfifo(tree / "pipe")
    assert str(tree / "pipe") in paths(tree)


def test_the_output_does_not_count(tree):
    (tree / "sub" / "out.csv").touch()
    (tree / "out.csv").touch()
    assert str(tree / "out.csv") not in paths(tree, leave_out=tree / "out.csv")
    assert str(tree / "sub" / "out.csv") in paths(tree, leave_out=tree / "out.csv")


def test_a_folder_that_cannot_be_listed_is_found_with_its_error(tree, monkeypatch):
    def scandir(path: str):
        if path.endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return os.scandir(path)

    # The one thing replaced in these tests: root, who runs them in containers, may list everything.
    monkeypatch.setattr(walk_module, "os", type("os", (), {**vars(os), "scandir": staticmethod(scandir)}))
    found = {found.path: found.error for found in walk([tree])}
    assert isinstance(found[str(tree / "sub")], UnreadableFileError)
    assert "Permission denied" in found[str(tree / "sub")].message
    assert len(found) == 5


def test_a_folder_deeper_than_a_path_may_be_is_found_with_its_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(45):
        Path("d" * 100).mkdir()
        monkeypatch.chdir("d" * 100)
    monkeypatch.chdir(tmp_path)
    (found,) = walk([tmp_path])
    assert "File name too long; check the path" in found.error.message


def test_names_that_are_not_utf8_are_found(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(name)).touch()
    assert [os.fsencode(path) for path in paths(tmp_path)] == [name]


def test_files_come_one_at_a_time(tmp_path):
    for number in range(50):
        (tmp_path / f"{number}").touch()
    walking = walk([tmp_path])
    first = list(itertools.islice(walking, 3))
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "late").mkdir()
    walking.close()
    assert len(first) == 3
