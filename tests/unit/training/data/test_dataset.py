from __future__ import annotations

import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from veriphoto.errors import DataError, UnreadableFileError
from veriphoto_training.data.dataset import Picture, read_dataset, thin
from veriphoto_training.data.splits import split_dataset, thinned

Maker = Callable[..., Picture]


def test_a_tree_its_zip_and_its_manifest_hold_the_same_pictures(tree: Path, tmp_path: Path) -> None:
    plain = read_dataset(tree)
    with zipfile.ZipFile(tmp_path / "tree.zip", "w") as archive:
        for file in tree.rglob("*.jpg"):
            archive.write(file, file.relative_to(tree).as_posix())
    listed = shutil.copytree(tree, tmp_path / "listed")
    rows = [f"{p.path},{'ai' if p.label else 'real'},{p.source},{p.path}" for p in plain.pictures]
    (listed / "manifest.csv").write_text("\n".join(["path,label,source,group", *reversed(rows)]))
    for other in (read_dataset(tmp_path / "tree.zip"), read_dataset(listed)):
        assert other.fingerprint == plain.fingerprint
        assert {(p.path, p.source) for p in other.pictures} == {(p.path, p.source) for p in plain.pictures}


def test_the_fingerprint_moves_with_a_byte(tree: Path) -> None:
    before = read_dataset(tree).fingerprint
    file = next(tree.rglob("*.jpg"))
    file.write_bytes(file.read_bytes() + b"\0")
    assert read_dataset(tree).fingerprint != before


def test_pictures_are_not_kept_in_memory(tree: Path) -> None:
    """16 files of a megabyte each: what stays is names and hashes, however often they are read."""
    for file in tree.rglob("*.jpg"):
        file.write_bytes(file.read_bytes() + bytes(1_000_000))
    tracemalloc.start()
    try:
        data = read_dataset(tree)
        assert len(data.fingerprint) == 64
        assert all(len(picture.data) > 1_000_000 for _ in range(2) for picture in data.pictures)
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


def test_a_file_that_goes_away_is_a_bad_picture_and_no_crash(tree: Path) -> None:
    picture = read_dataset(tree).pictures[0]
    picture.file.unlink()
    with pytest.raises(UnreadableFileError, match="cannot be read: No such file"):
        _ = picture.data


def test_threads_share_a_zip(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tree.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in tree.rglob("*.jpg"):
            archive.write(file, file.relative_to(tree).as_posix())
    plain, zipped = ({p.path: p for p in read_dataset(root).pictures} for root in (tree, tmp_path / "tree.zip"))
    paths = [*plain] * 20
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda path: zipped[path].data, paths))
    assert found == [plain[path].data for path in paths]


def test_broken_files_are_named_and_left_out(tree: Path) -> None:
    (tree / "real" / "empty.jpg").touch()
    (tree / "ai" / "page.png").write_text("<html>")
    found = read_dataset(tree)
    assert len(found.pictures) == 16
    assert set(found.broken) == {"real/empty.jpg", "ai/page.png"}


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(DataError, match="expected a manifest"):
        read_dataset(tmp_path)
    shutil.rmtree(tree / "ai")
    (tree / "ai").mkdir()
    with pytest.raises(DataError, match="labelled ai"):
        read_dataset(tree)


def test_a_manifest_with_another_label_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label\na.jpg,fake\n")
    with pytest.raises(DataError, match="line 2"):
        read_dataset(tmp_path)


def test_parts_share_no_group(picture: Maker) -> None:
    pictures = [
        picture(
            f"{label}{n}",
            label,
            source=f"s{n // 3 % 5}",
            generator=f"g{n // 3 % 3}" if label else "",
            group=f"{label}/{n // 3}",
        )
        for label in (0, 1)
        for n in range(120)
    ]
    split = split_dataset(pictures, 0.2, ["s4"], ["g1"])
    groups = [{p.group for p in part} for part in (split.train, split.validation, split.holdout)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert sum(len(part) for part in (split.train, split.validation, split.holdout)) == len(pictures)
    assert all(p.source != "s4" and p.generator != "g1" for p in split.train + split.validation)
    assert 0.05 < len(split.validation) / (len(split.validation) + len(split.train)) < 0.4


def test_a_pattern_can_name_one_class_of_a_source(picture: Maker) -> None:
    pictures = [picture(f"{label}{n}", label, source=f"s{n % 2}") for label in (0, 1) for n in range(20)]
    split = split_dataset(pictures, 0.0, ["real/s1"])
    assert {(p.label, p.source) for p in split.holdout} == {(0, "s1")}


@pytest.mark.parametrize(("sources", "generators"), [(["nowhere"], []), ([], ["nothing*"]), (["shop"], [])])
def test_splits_that_cannot_be_are_refused(picture: Maker, sources: list[str], generators: list[str]) -> None:
    with pytest.raises(DataError):
        split_dataset([picture("a"), picture("b", 1)], 0.0, sources, generators)


def test_thinning_comes_after_the_split(picture: Maker) -> None:
    # Each group has one picture of the source that is left out: thinned before, most groups would lose just that one.
    pictures = [
        picture(f"{label}{n}", label, source="out" if n % 40 == 0 else "in", group=f"{label}/{n // 4 % 10}")
        for label in (0, 1)
        for n in range(120)
    ]
    split = split_dataset(pictures, 0.2, ["out"])
    few = thinned(split, 10)
    assert few.holdout == split.holdout
    assert set(few.train) <= set(split.train)
    assert set(few.validation) <= set(split.validation)
    for label in (0, 1):
        assert sum(p.label == label for p in few.train + few.validation) == 10
    assert not {p.group for p in few.train} & {p.group for p in few.holdout}


def test_thinning_keeps_the_same_pictures_whatever_the_order(picture: Maker) -> None:
    pictures = [picture(f"{label}{n}", label) for label in (0, 1) for n in range(30)]
    kept = {p.path for p in thin(pictures, 7)}
    assert len(kept) == 14
    assert kept == {p.path for p in thin(pictures[::-1], 7)}
