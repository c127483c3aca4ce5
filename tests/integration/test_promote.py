"""Promotion and rollback through the real tritonserver, by the real command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from promotion_kit import GOLDEN, Ground, add_variants, content, prepare
from toy_model import SAMPLES, toy_bundle
from typer.testing import CliRunner

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import ModelError, VeriphotoError
from veriphoto.preprocessing import preprocess
from veriphoto.variants import AUTO, Variant
from veriphoto_export.runners import open_variant
from veriphoto_release.candidate import load_candidate
from veriphoto_release.commands import models
from veriphoto_release.journal import JOURNAL_FILE
from veriphoto_release.promotion import promote, rollback
from veriphoto_release.publish import publish
from veriphoto_release.registry import CHAMPION
from veriphoto_release.triton import find_triton
from veriphoto_serving.triton.launcher import TritonServer

PICTURE = SAMPLES[0].read_bytes()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return prepare(tmp_path_factory.mktemp("promotion") / "ground")


@pytest.fixture
def ground(prepared: Ground, tmp_path: Path) -> Ground:
    return prepared.copy(tmp_path / "a ground")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An evaluation set, of sorts."""
    for label, files in (("real", SAMPLES[::2]), ("ai", SAMPLES[1::2])):
        for file in files:
            (tmp_path / "photos" / label / "a source").mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "photos" / label / "a source")
    return tmp_path / "photos"


def command(ground: Ground, *arguments: str) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    models.register(app)
    options = ["--var", str(ground.root / "var")]
    if arguments[0] in ("promote", "rollback", "list", "compare"):
        options += ["--model-repository", str(ground.repository)]
    result = CliRunner().invoke(app, ["models", *arguments, *options])
    if isinstance(result.exception, VeriphotoError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_promote_and_roll_back(ground: Ground, photos: Path, start_triton: Callable[..., TritonServer]) -> None:
    """Each answer has the version that made it, and that version's offline score."""
    start_triton(ground.repository, var=ground.root / "var")
    triton = find_triton(ground.root / "var", ground.repository)

    def answers_offline_score(version: int) -> bool:
        directory = ground.repository / CLASSIFIER / str(version)
        offline = load_candidate(directory, "offline").probability(PICTURE)
        answer = triton.score(PICTURE)
        return answer.version == version and abs(answer.probability - offline) < 1e-5

    assert answers_offline_score(1)
    publish(toy_bundle(9), ground.repository, 2)  # as a calibration does: no server has loaded it
    assert triton.served() == 1
    assert json.loads(command(ground, "list", "--json"))["serving"] == 1
    triton.load_classifier(2)
    triton.load_classifier(1)
    assert answers_offline_score(1)
    wide = [f"--margin-{name}=1" for name in ("auroc", "balanced-accuracy", "source", "false-alarms")]
    golden = ["--golden", str(SAMPLES[0].parent)]
    told = command(ground, "promote", "--evaluation", str(photos), *wide, *golden)
    assert "promote: model 2 serves as version 3, after version 1" in told
    assert answers_offline_score(3)
    assert "rollback: model 1 serves as version 4" in command(ground, "rollback", *golden)
    assert answers_offline_score(4)
    listed = json.loads(command(ground, "list", "--json"))
    assert listed["serving"] == 4
    assert [each["version"] for each in listed["models"][0]["served"]] == [1, 4]
    shown = json.loads(command(ground, "show", CHAMPION))
    assert shown["number"] == 1
    compared = json.loads(command(ground, "compare", "1", "2", "--evaluation", str(photos), "--json"))
    assert [row["figure"] for row in compared if row["figure"].startswith("AUROC")] == ["AUROC, clean", "AUROC, hard"]


def test_the_fastest_variant_follows_its_version(
    ground: Ground, start_triton: Callable[..., TritonServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `serve` starts it. Model 1 was measured, model 2 was not: INT8, fp32, and INT8 again without a restart."""
    classifier = ground.repository / CLASSIFIER
    add_variants(classifier / "1")
    monkeypatch.setenv("VERIPHOTO_VARIANT", AUTO)
    start_triton(ground.repository, var=ground.root / "var")
    triton = find_triton(ground.root / "var", ground.repository)
    crops = preprocess(PICTURE).crops[np.newaxis]

    def runs(version: int, variant: Variant) -> bool:
        answer = triton.score(PICTURE)
        offline = float(open_variant(variant, classifier / str(version))(crops)[0])
        return answer.version == version and abs(answer.probability - offline) < 1e-5

    assert runs(1, Variant.INT8)
    assert promote("2", ground.place(triton), judge=content).variant == "fp32"
    assert runs(2, Variant.FP32)
    assert rollback(ground.place(triton)).variant == "int8"
    assert runs(3, Variant.INT8)
    assert not runs(3, Variant.FP32)


def test_a_version_that_scores_otherwise_is_taken_back(
    ground: Ground, start_triton: Callable[..., TritonServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_triton(ground.repository, var=ground.root / "var")
    triton = find_triton(ground.root / "var", ground.repository)
    monkeypatch.setattr("veriphoto_release.golden.golden_scores", lambda *_: dict.fromkeys(GOLDEN, 2.0))
    with pytest.raises(ModelError, match=r"stopped at 'golden'.*version 1 still serves"):
        promote("2", ground.place(triton), judge=content)
    assert triton.score(PICTURE).version == 1
    assert not (ground.repository / CLASSIFIER / JOURNAL_FILE).exists()
    assert ground.registry.find(CHAMPION).number == 1


def test_a_server_that_cannot_load_it_keeps_the_old_one(
    ground: Ground, start_triton: Callable[..., TritonServer]
) -> None:
    """The glue breaks, not the graph: offline nothing is wrong."""
    start_triton(ground.repository, var=ground.root / "var")
    triton = find_triton(ground.root / "var", ground.repository)
    glue = ground.repository / CLASSIFIER / "1" / "model.py"
    kept = glue.read_text()
    glue.write_text("raise RuntimeError('broken glue')\n")
    try:
        with pytest.raises(ModelError, match=r"stopped at 'load'.*does not load the version"):
            promote("2", ground.place(triton), judge=content)
    finally:
        glue.write_text(kept)
    triton.load_classifier()
    assert triton.score(PICTURE).version == 1
