"""Publishing: complete or not at all."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from veriphoto.errors import ModelError, UsageError
from veriphoto.manifest import Findings, read_manifest, verify_onnx
from veriphoto_export.operating_point import operating_point
from veriphoto_release import publish as publishing
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.publish import next_version, publish


def put(model: onnx.ModelProto, findings: Findings, repository: Path, version: int) -> Path:
    return publish(ModelBundle(graph=model, findings=findings, evidence_bias=0.25), repository, version)


def entries(repository: Path) -> set[str]:
    return {path.name for path in (repository / "classifier").iterdir()}


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_is_complete(version: int, model, findings, repository) -> None:
    """Version 1 exists in a fresh clone with its model.py only; version 2 does not exist."""
    directory = put(model, findings, repository, version)
    manifest = read_manifest(directory)
    verify_onnx(directory, manifest)
    assert manifest.evidence_bias == 0.25
    assert manifest.findings == replace(findings, operating_point=operating_point(findings, version))
    assert (directory / "model.py").read_text() == (repository / "classifier" / "1" / "model.py").read_text()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert {path.name for path in directory.iterdir()} == {"model.onnx", "model.py", "manifest.json"}
    assert entries(repository) == {"config.pbtxt", "configs", "1", str(version)}


def test_versions_count_up(model, findings, repository) -> None:
    assert next_version(repository) == 1
    put(model, findings, repository, 1)
    assert next_version(repository) == 2
    put(model, findings, repository, 10)
    assert next_version(repository) == 11


def test_a_version_never_changes(model, findings, repository) -> None:
    before = (put(model, findings, repository, 1) / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        put(model, findings, repository, 1)
    assert (repository / "classifier" / "1" / "manifest.json").read_bytes() == before


def test_a_failure_leaves_nothing(model, findings, repository, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = entries(repository)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="No space left on device; nothing was published"):
        put(model, findings, repository, 2)
    assert entries(repository) == before


def test_what_a_killed_process_left_is_swept(model, findings, repository) -> None:
    left_over = repository / "classifier" / ".staging-killed"
    left_over.mkdir()
    (left_over / "model.onnx").write_bytes(b"half")
    assert next_version(repository) == 1
    put(model, findings, repository, 1)
    assert not left_over.exists()


def test_the_graph_comes_last_into_an_existing_directory(model, findings, repository, monkeypatch) -> None:
    """Killed before the last step, a version without its graph is left: nothing loads it, and publishing mends it."""
    replace_file = Path.replace

    def die(self: Path, target: Path) -> Path:
        if target.name == "model.onnx":
            raise KeyboardInterrupt
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        put(model, findings, repository, 1)
    assert not (repository / "classifier" / "1" / "model.onnx").exists()
    monkeypatch.undo()
    put(model, findings, repository, 1)


@pytest.mark.parametrize("version", [0, -1, 2**24 + 1])
def test_versions_outside_the_tensor_are_refused(version: int, model, findings, repository) -> None:
    with pytest.raises(UsageError, match="a version lies between"):
        put(model, findings, repository, version)


def test_a_folder_that_is_no_repository_is_refused(model, findings, tmp_path) -> None:
    with pytest.raises(UsageError, match="name a model repository"):
        put(model, findings, tmp_path, 1)
    (tmp_path / "classifier").mkdir()
    with pytest.raises(UsageError, match=publishing.GLUE_FILE):
        put(model, findings, tmp_path, 1)


def test_manifest_and_answers_say_the_same_numbers(findings) -> None:
    point = operating_point(findings, 3)
    assert point.model_version == 3
    assert point.to_tensor() == [float(value) for value in np.float32(point.to_tensor())]
