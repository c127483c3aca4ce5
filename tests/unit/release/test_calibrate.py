"""``veriphoto calibrate``: a shop's photos in, a new model version out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import typer
from brightness_model import POINT, brightness_repository, draw
from toy_encoder import toy_opinion, write_toy_encoder
from typer.testing import CliRunner

from veriphoto.contract import CROPS, OPERATING_POINT, OPINION_VALUES, OPINIONS, PROBABILITY
from veriphoto.errors import DataError, ModelError, UsageError
from veriphoto.manifest import ONNX_FILE, read_manifest, verify_onnx
from veriphoto.opinions import open_opinions
from veriphoto.preprocessing import preprocess
from veriphoto.second_opinion import OPINION_FILE, Mode, SecondOpinion, read_opinion
from veriphoto_release.calibrate import calibrate_version
from veriphoto_release.commands.calibrate import register
from veriphoto_training.calibration.shop_photos import score_shop
from veriphoto_training.scoring.scorers import OnnxScorer

RATE = 0.1  # 29 photos at least


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return brightness_repository(tmp_path)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photos from dark to bright; the model takes bright for AI."""
    folder = tmp_path_factory.mktemp("shop")
    for index in range(40):
        (folder / f"{index:02d}.jpg").write_bytes(draw(index, size=(64, 64), level=60.0 + 2.0 * index))
    return folder


def test_a_new_version_answers_with_the_new_point(shop: Path, repository: Path) -> None:
    done = calibrate_version(shop, rate=RATE, repository=repository)
    assert done.directory == repository / "classifier" / "2"
    manifest = read_manifest(done.directory)
    verify_onnx(done.directory, manifest)
    point = manifest.findings.operating_point
    assert point == done.fit.apply(point)
    assert (point.model_version, point.min_side) == (2, POINT.min_side)
    assert 0.0 < point.unsure_low < point.threshold <= point.unsure_high < 0.7
    assert manifest.findings.metrics == {"auroc": 0.5, "shop_base_version": 1.0, "shop_photos": 40.0, "shop_rate": RATE}
    crops = preprocess((shop / "39.jpg").read_bytes()).crops[None]
    old, new = (
        onnxruntime.InferenceSession(repository / "classifier" / version / ONNX_FILE).run(None, {CROPS: crops})
        for version in ("1", "2")
    )
    names = ["PROBABILITY", "LOGIT", "EVIDENCE", OPERATING_POINT]
    session = onnxruntime.InferenceSession(repository / "classifier" / "2" / ONNX_FILE)
    (tensor,) = session.run([OPERATING_POINT], {CROPS: crops})
    assert [float(value) for value in tensor[0]] == point.to_tensor()
    assert sorted(output.name for output in session.get_outputs()) == sorted(names)
    assert all(np.array_equal(one, two) for one, two in zip(old[:3], new[:3], strict=True))


def test_a_dry_run_writes_nothing(shop: Path, repository: Path) -> None:
    done = calibrate_version(shop, rate=RATE, repository=repository, write=False)
    assert done.directory is None
    assert [path.name for path in (repository / "classifier").iterdir()] == ["1"]


def test_too_few_photos_are_refused_before_any_is_scored(shop: Path, repository: Path) -> None:
    def track(files: object) -> list[Path]:
        raise AssertionError("scored")

    with pytest.raises(DataError, match=r"40 usable real photos; a rate of 2.0% needs at least 149"):
        calibrate_version(shop, rate=0.02, repository=repository, track=track)


def test_a_missing_version_is_refused(shop: Path, repository: Path) -> None:
    with pytest.raises(UsageError, match="veriphoto export"):
        calibrate_version(shop, rate=RATE, repository=repository, version=7)


def test_copies_small_and_broken_photos_do_not_count(shop: Path, repository: Path, tmp_path: Path) -> None:
    files = sorted(shop.iterdir())[:4]
    (tmp_path / "copy.jpg").write_bytes(files[2].read_bytes())
    (tmp_path / "small.jpg").write_bytes(draw(7, size=(40, 200)))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no")
    extra = [tmp_path / name for name in ("copy.jpg", "small.jpg", "broken.jpg", "missing.jpg")]
    scores = score_shop([*files, *extra], OnnxScorer(repository / "classifier"), POINT)
    assert len(scores.probability) == len(scores.photos) == 4
    assert (scores.copies, scores.gated, sorted(scores.broken)) == (1, 1, ["broken.jpg", "missing.jpg"])


def test_the_command_tells_what_it_did(shop: Path, repository: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    arguments = ["--real", str(shop), "--rate", str(RATE), "--model-repository", str(repository)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "40 photos used" in result.output
    assert "from version 1" in result.output
    assert read_manifest(repository / "classifier" / "2").model_version == 2


def opinion_for_small_photos() -> SecondOpinion:
    given = toy_opinion(ask_above=-1.0)
    return replace(given, operating_point=replace(given.operating_point, min_side=POINT.min_side))


@pytest.fixture
def with_opinion(repository: Path) -> Path:
    """Its second opinion takes dark pictures for AI, and is asked about those that the classifier finds bright."""
    write_toy_encoder(repository)
    opinion_for_small_photos().of_version(1).write(repository / "classifier" / "1")
    return repository


def test_both_scores_of_a_version_with_a_second_opinion_are_fitted(shop: Path, with_opinion: Path) -> None:
    done = calibrate_version(shop, rate=RATE, repository=with_opinion)
    assert done.directory is not None
    assert done.joint is not None
    opinion = read_opinion(done.directory)
    assert opinion is not None
    before = opinion_for_small_photos()
    point = opinion.operating_point
    assert point.model_version == 2
    assert point.threshold == point.unsure_high == done.joint.unsure_high
    assert point.unsure_low == min(before.operating_point.unsure_low, point.threshold)
    assert (opinion.rule, opinion.weights) == (before.rule, before.weights)
    assert read_manifest(done.directory).findings.operating_point == replace(done.fit.apply(POINT), model_version=2)
    model, opinions = OnnxScorer(done.directory), open_opinions(with_opinion, Mode.AUTO)
    flagged, asked = 0, 0
    for file in sorted(shop.iterdir()):
        crops = preprocess(file.read_bytes()).crops
        joined = opinions.joined(crops, model.answers(crops[None]))
        assert joined[OPERATING_POINT][0].tolist() == pytest.approx(point.to_tensor())
        flagged += int(joined[PROBABILITY][0, 0] >= point.unsure_high)
        asked += int(joined[OPINIONS][0, OPINION_VALUES.index("asked")])
    assert flagged == done.joint.flagged
    assert 0 < asked < len(done.scores.photos)


@pytest.mark.parametrize("lacking", ["nothing there", "another encoder", "a damaged opinion"])
def test_a_second_opinion_that_cannot_be_asked_is_not_dropped(shop: Path, with_opinion: Path, lacking: str) -> None:
    home = with_opinion / "classifier" / "1"
    if lacking == "nothing there":
        shutil.rmtree(with_opinion / "encoder")
    elif lacking == "another encoder":
        replace(toy_opinion(), encoder="0" * 64).write(home)
    else:
        (home / OPINION_FILE).write_text("{")
    with pytest.raises(ModelError, match=r"make encoder|fit it again"):
        calibrate_version(shop, rate=RATE, repository=with_opinion)
    assert not (with_opinion / "classifier" / "2").exists()


def test_the_command_tells_both_fits(shop: Path, with_opinion: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    arguments = ["--real", str(shop), "--rate", str(RATE), "--model-repository", str(with_opinion), "--dry-run"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "with the second opinion: AI-generated from" in result.output
