from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from veriphoto_serving.triton.options import Flavour
from veriphoto_serving.triton.repository import problems


def other_contract(repository: Path) -> None:
    path = repository / "classifier/3/manifest.json"
    body = json.loads(path.read_text())
    body["contract"]["crop_size"] = 256
    path.write_text(json.dumps(body))


CASES: list[tuple[Callable[[Path], object], str]] = [
    (shutil.rmtree, "is no directory; name the model repository with --model-repository"),
    (lambda r: (r / "detector/config.pbtxt").unlink(), "detector/config.pbtxt is missing"),
    (lambda r: (r / "preprocess/config.pbtxt").unlink(), "preprocess/config.pbtxt is missing"),
    (lambda r: (r / "classifier/configs/embedded.pbtxt").unlink(), "configs/embedded.pbtxt is missing"),
    (lambda r: shutil.rmtree(r / "preprocess/3"), "preprocess holds no version directory"),
    (lambda r: (r / "preprocess/3/model.py").unlink(), "preprocess/3/model.py is missing"),
    (lambda r: (r / "recorder/3/model.py").unlink(), "recorder/3/model.py is missing"),
    (lambda r: shutil.rmtree(r / "classifier/3"), "classifier holds no version directory"),
    (lambda r: (r / "classifier/3/model.py").unlink(), "export the model for --flavour embedded"),
    (lambda r: (r / "classifier/3/model.onnx").unlink(), "model.onnx is missing; publish the version again"),
    (lambda r: (r / "classifier/3/model.onnx").write_bytes(b"other"), "is not the file its manifest describes"),
    (lambda r: (r / "classifier/3/manifest.json").unlink(), "manifest.json is missing; export the model again"),
    (lambda r: (r / "classifier/3/manifest.json").write_text("{"), "manifest.json cannot be read"),
    (lambda r: (r / "classifier/3").rename(r / "classifier/4"), "not of this directory; publish it anew"),
    (other_contract, "crop_size is 256, the code says 224"),
]


def test_a_good_repository_has_no_problems(model_repository: Path) -> None:
    assert list(problems(model_repository, Flavour.EMBEDDED)) == []


@pytest.mark.parametrize(("damage", "expected"), CASES)
def test_each_problem_is_named(model_repository: Path, damage: Callable[[Path], object], expected: str) -> None:
    damage(model_repository)
    found = list(problems(model_repository, Flavour.EMBEDDED))
    assert len(found) == 1
    assert expected in found[0]


def test_all_problems_are_named_together(model_repository: Path) -> None:
    for name in ("preprocess", "classifier", "detector"):
        shutil.rmtree(model_repository / name)
    assert len(list(problems(model_repository, Flavour.EMBEDDED))) == 6


def test_the_newest_version_counts(model_repository: Path) -> None:
    (model_repository / "classifier/12").mkdir()
    assert "classifier/12/manifest.json is missing" in next(iter(problems(model_repository, Flavour.EMBEDDED)))


def test_other_flavours_need_other_files(model_repository: Path) -> None:
    shutil.rmtree(model_repository / "classifier/configs")
    (model_repository / "classifier/3/model.py").unlink()
    assert list(problems(model_repository, Flavour.ONNXRUNTIME)) == []
    assert [
        problem.rpartition(" is missing")[0].rpartition("/")[2]
        for problem in problems(model_repository, Flavour.TENSORRT)
    ] == [
        "tensorrt.pbtxt",
        "model.plan",
    ]
