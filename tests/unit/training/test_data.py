from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from veriphoto.errors import DataError
from veriphoto_training.data import Picture, read_dataset, thin
from veriphoto_training.splits import split_dataset

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


def test_thinning_keeps_the_same_pictures_whatever_the_order(picture: Maker) -> None:
    pictures = [picture(f"{label}{n}", label) for label in (0, 1) for n in range(30)]
    kept = {p.path for p in thin(pictures, 7)}
    assert len(kept) == 14
    assert kept == {p.path for p in thin(pictures[::-1], 7)}
