"""Variants go where their model goes: into the registry, into every version made of it, and never half."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from promotion_kit import GOLDEN, SHIFT, Ground, add_variants, content, die_at, run_promote
from repository_server import KEY, RepositoryServer
from toy_model import SAMPLES, publish_toy, toy_bundle, toy_findings

from veriphoto.contract import CROPS, OPERATING_POINT
from veriphoto.errors import ModelError
from veriphoto.manifest import ONNX_FILE, read_manifest
from veriphoto.preprocessing import preprocess
from veriphoto.variants import AUTO, INT8_FILE, VARIANTS_FILE, Variant, choose
from veriphoto_export.runners import open_variant
from veriphoto_export.variant_files import find_variants, load_variants
from veriphoto_release import golden
from veriphoto_release.candidate import load_candidate
from veriphoto_release.pipeline import export_version
from veriphoto_release.promotion import promote, rollback, settle
from veriphoto_release.publish import latest, publish, write_version
from veriphoto_release.registration import register
from veriphoto_release.registry import CHAMPION, Registry


def version(ground: Ground, number: int) -> Path:
    return ground.repository / "classifier" / str(number)


def runs(directory: Path) -> str:
    """The file that a server with no other word runs, after it has answered as the version that it is."""
    manifest = read_manifest(directory)
    file = choose(directory, manifest, AUTO).file
    session = onnxruntime.InferenceSession(directory / file, providers=["CPUExecutionProvider"])
    crops = preprocess(SAMPLES[0].read_bytes()).crops[np.newaxis]
    [point] = session.run([OPERATING_POINT], {CROPS: crops})
    assert point[0].tolist() == pytest.approx(manifest.findings.operating_point.to_tensor())
    assert int(point[0, 0]) == int(directory.name)
    return file


def test_a_rollback_brings_the_variants_back_under_the_new_number(ground: Ground, server: RepositoryServer) -> None:
    """Version 1 was measured; it comes back as version 3, and again as 5, and runs what it ran."""
    add_variants(version(ground, 1))
    place = ground.place(server.triton)
    for number in (2, 4):
        assert promote("2", place, judge=content).version == number
        assert runs(version(ground, number)) == ONNX_FILE  # model 2 was never measured
        assert not (version(ground, number) / VARIANTS_FILE).exists()
        rollback(place)
        assert runs(version(ground, number + 1)) == INT8_FILE
    before, after = (json.loads((version(ground, n) / VARIANTS_FILE).read_text()) for n in (1, 5))
    assert after["onnx_sha256"] == read_manifest(version(ground, 5)).onnx_sha256 != before["onnx_sha256"]
    assert [row["accepted"] for row in after["rows"]] == [True, True, False]
    scores = [open_variant(Variant.INT8, version(ground, n)) for n in (1, 5)]
    crops = preprocess(SAMPLES[1].read_bytes()).crops[np.newaxis]
    assert scores[0](crops) == scores[1](crops)


def registered(ground: Ground, home: Path, seed: int) -> int:
    """Registers a toy with the variants measured in ``home``."""
    found = load_variants(home)
    assert found is not None
    example = preprocess(SAMPLES[0].read_bytes()).crops[np.newaxis]
    made = register(replace(toy_bundle(seed), variants=found), registry=ground.registry, example=example)
    return made.number


@pytest.fixture
def measured(ground: Ground, tmp_path: Path) -> int:
    """Model 3, measured before it was registered, as ``export RUN --variants`` does."""
    other = tmp_path / "elsewhere"
    shutil.copytree(ground.repository, other, ignore=shutil.ignore_patterns("[0-9]*"))
    shutil.copytree(version(ground, 1), other / "classifier" / "1")
    home = publish_toy(other, 3)
    add_variants(home)
    return registered(ground, home, 3)


def test_a_promotion_takes_them_from_the_registry(ground: Ground, server: RepositoryServer, measured: int) -> None:
    change = promote(str(measured), ground.place(server.triton), judge=content)
    assert change.variant == "fp32"  # what this server runs
    assert runs(version(ground, change.version)) == INT8_FILE


@pytest.mark.parametrize("broken", ["file", "rows", "lost"])
def test_a_damaged_variant_is_left_behind_and_fp32_serves(
    broken: str, ground: Ground, server: RepositoryServer, measured: int
) -> None:
    artifact = ground.registry.download(ground.registry.find(str(measured)))
    if broken == "file":
        (artifact / INT8_FILE).write_bytes(b"another")
    elif broken == "rows":
        (artifact / VARIANTS_FILE).write_text("{")
    else:
        (artifact / INT8_FILE).unlink()
    change = promote(str(measured), ground.place(server.triton), judge=content)
    assert runs(version(ground, change.version)) == ONNX_FILE
    assert not (version(ground, change.version) / INT8_FILE).exists()


@pytest.mark.parametrize("step", ["write", "load", "golden"])
def test_killed_while_they_travel(step: str, ground: Ground, server: RepositoryServer, measured: int) -> None:
    assert die_at(run_promote, step, (ground, server.url, KEY, str(measured))) == -signal.SIGKILL
    settle(ground.place(server.triton))
    assert server.version == 1
    assert runs(version(ground, 1)) == ONNX_FILE
    change = promote(str(measured), ground.place(server.triton), judge=content)
    assert runs(version(ground, change.version)) == INT8_FILE


def test_another_threshold_is_another_model(ground: Ground) -> None:
    """Balanced accuracy was measured at the old one: a shop's calibration serves fp32 until it is measured."""
    add_variants(version(ground, 1))
    point = replace(toy_findings().operating_point, threshold=0.5)
    findings = replace(toy_findings(), operating_point=point)
    directory = publish(replace(toy_bundle(1), findings=findings), ground.repository, 2)
    assert runs(directory) == ONNX_FILE


def test_an_int8_graph_of_something_else_is_not_written(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own operating point does not take the new number: nothing is published."""
    add_variants(version(ground, 1))
    found = find_variants([version(ground, 1)])
    assert found is not None
    monkeypatch.setattr("veriphoto_export.variant_files.stamp", lambda model, _: model)
    with pytest.raises(ModelError, match="answers at another operating point"):
        write_version(replace(toy_bundle(1), variants=found), ground.repository, 2)
    assert not version(ground, 2).exists()


def test_an_export_carries_what_it_measured(network, findings, repository: Path, tmp_path: Path) -> None:
    """Into the registry and into the version, each under its own number."""
    registry = Registry(tmp_path / "var")
    exported = export_version(
        network, findings, repository=repository, pictures=SAMPLES[:2], registry=registry, measure=add_variants
    )
    assert exported.directory is not None
    assert runs(exported.directory) == INT8_FILE
    found = load_variants(registry.download(registry.find(CHAMPION)))
    assert found is not None
    assert found.accepted == [Variant.FP32, Variant.INT8]


def test_an_export_that_dies_while_measuring_leaves_nothing(
    network, findings, repository: Path, tmp_path: Path
) -> None:
    def die(home: Path) -> None:
        add_variants(home)
        raise KeyboardInterrupt

    registry = Registry(tmp_path / "var")
    with pytest.raises(KeyboardInterrupt):
        export_version(network, findings, repository=repository, pictures=SAMPLES[:2], registry=registry, measure=die)
    assert registry.models() == []
    assert latest(repository) is None


def test_a_measurement_that_dies_between_its_files_means_fp32(ground: Ground, monkeypatch) -> None:
    """Rows of the graph before, and the graph of the rows to come: neither is run."""
    directory = version(ground, 1)
    add_variants(directory)
    (directory / INT8_FILE).write_bytes((directory / INT8_FILE).read_bytes() + b"\0")
    assert runs(directory) == ONNX_FILE
    assert load_variants(directory) is None


class Answers:
    """A server that answers the golden pictures with one variant's scores, off by something."""

    def __init__(self, scores: dict[Path, float], offset: float = 0.0) -> None:
        self.answers = {path.read_bytes(): score + offset for path, score in scores.items()}

    def score(self, picture: bytes) -> object:
        return type("Answer", (), {"version": 7, "probability": self.answers[picture]})


def test_golden_answers_are_those_of_one_variant(ground: Ground) -> None:
    """A server that runs INT8 passes at the tolerance of fp32, and one that mixes the two does not."""
    add_variants(version(ground, 1))
    candidate = load_candidate(version(ground, 1), "version 1")
    expected = golden.expect(candidate, load_variants(version(ground, 1)), GOLDEN)
    assert list(expected.scores) == ["fp32", "int8"]
    tolerance = 0.001
    for name, scores in expected.scores.items():
        triton: object = Answers(scores)
        assert golden.require(triton, 7, expected, tolerance) == name  # type: ignore[arg-type]
        triton = Answers(scores, offset=0.1)
        with pytest.raises(ModelError, match="through Triton and"):
            golden.require(triton, 7, expected, tolerance)  # type: ignore[arg-type]
    mixed = {
        path: expected.scores["fp32" if number else "int8"][path] for number, path in enumerate(expected.scores["fp32"])
    }
    triton = Answers(mixed)
    with pytest.raises(ModelError, match="through Triton and"):
        golden.require(triton, 7, expected, tolerance)  # type: ignore[arg-type]
    not_a_number: object = Answers(dict.fromkeys(mixed, float("nan")))
    with pytest.raises(ModelError, match="through Triton and"):
        golden.require(not_a_number, 7, expected, tolerance)  # type: ignore[arg-type]


def test_a_variant_that_only_the_server_can_run_has_its_measured_distance(ground: Ground, monkeypatch) -> None:
    add_variants(version(ground, 1))
    monkeypatch.setattr(golden, "available", lambda: [Variant.FP32])
    candidate = load_candidate(version(ground, 1), "version 1")
    expected = golden.expect(candidate, load_variants(version(ground, 1)), GOLDEN)
    assert (list(expected.scores), expected.slack) == (["fp32"], SHIFT)
    near, far = (Answers(expected.scores["fp32"], offset=offset) for offset in (0.9 * SHIFT, 2 * SHIFT))
    assert golden.require(near, 7, expected, 0.001) == golden.ELSEWHERE  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="through Triton and"):
        golden.require(far, 7, expected, 0.001)  # type: ignore[arg-type]
