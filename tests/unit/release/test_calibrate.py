"""``veriphoto calibrate``: a shop's photos in, a new model version out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import typer
from brightness_model import POINT, brightness_repository, draw
from typer.testing import CliRunner

from veriphoto.contract import CROPS, OPERATING_POINT
from veriphoto.errors import DataError, UsageError
from veriphoto.manifest import ONNX_FILE, read_manifest, verify_onnx
from veriphoto.preprocessing import preprocess
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
