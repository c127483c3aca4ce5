"""From a run's directory to a version directory, once with the real network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import typer
from toy_model import SAMPLES, toy_findings
from typer.testing import CliRunner

from veriphoto.errors import DataError, MissingExtraError, ParityError, ServiceUnavailableError, UsageError
from veriphoto.manifest import FINDINGS_FILE, read_manifest, verify_onnx
from veriphoto_export import parity
from veriphoto_export.pictures import find_pictures
from veriphoto_release import pipeline
from veriphoto_release.commands import export
from veriphoto_release.pipeline import PARITY_PICTURES, export_version, spread
from veriphoto_release.publish import latest
from veriphoto_release.registry import Registry
from veriphoto_training.network.model import CHECKPOINT_FILE, build_network, save_checkpoint

MAX_BYTES = 20_000_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training run's directory, with an untrained EfficientNet-B0."""
    torch.manual_seed(0)
    directory = tmp_path / "a run"
    save_checkpoint(directory / CHECKPOINT_FILE, build_network().state_dict(), {})
    toy_findings().write(directory / FINDINGS_FILE)
    return directory


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of a few photos to compare with."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for sample in SAMPLES[::5]:
        shutil.copy(sample, folder)
    return folder


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    export.register(app)
    return app


def test_the_first_serves_and_the_second_waits(
    run: Path, repository: Path, app: typer.Typer, monkeypatch: pytest.MonkeyPatch, network, findings, photos: Path
) -> None:
    """Where something is served already, an export is a challenger; only promotion gets it past that."""
    monkeypatch.setattr(pipeline, "load_checkpoint", lambda _: (network, {}))
    options = ["--model-repository", str(repository), "--photos", str(photos), "--var", str(run.parent)]
    told = [CliRunner().invoke(app, ["export", str(run), *options]).stdout.split(",")[0] for _ in range(2)]
    assert told == ["version 1", "model 2"]
    assert sorted(path.name for path in (repository / "classifier").iterdir()) == ["1", "config.pbtxt", "configs"]
    champion, challenger = Registry(run.parent).models()
    assert (champion.aliases, [each.version for each in champion.served]) == (("champion",), [1])
    assert (challenger.aliases, challenger.served) == (("challenger",), ())
    assert champion.sha256 == challenger.sha256
    assert champion.tags["data_fingerprint"] == findings.lineage.data_fingerprint


def test_where_mlflow_is_away_nothing_is_published(
    network, findings, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Registry(tmp_path, uri="http://127.0.0.1:9")
    with pytest.raises(ServiceUnavailableError, match="MLflow registry at"):
        export_version(network, findings, repository=repository, pictures=SAMPLES[:1], registry=away)
    assert latest(repository) is None


def test_the_command_publishes_the_real_network(run: Path, repository: Path, app: typer.Typer, photos: Path) -> None:
    options = ["--model-repository", str(repository), "--photos", str(photos), "--no-registry"]
    result = CliRunner().invoke(app, ["export", str(run), *options])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("version 1, ")
    directory = repository / "classifier" / "1"
    verify_onnx(directory, read_manifest(directory))
    assert (directory / "model.onnx").stat().st_size < MAX_BYTES


@pytest.mark.parametrize("missing", [CHECKPOINT_FILE, FINDINGS_FILE])
def test_an_unfinished_run_is_refused(missing: str, run: Path, repository: Path, app: typer.Typer) -> None:
    (run / missing).unlink()
    options = ["--model-repository", str(repository), "--photos", str(SAMPLES[0].parent), "--var", str(run.parent)]
    result = CliRunner().invoke(app, ["export", str(run), *options])
    assert isinstance(result.exception, UsageError)
    assert f"{missing} is missing" in str(result.exception)


def test_missing_packages_name_the_extra(run: Path, app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'timm'", name="timm")

    monkeypatch.setattr(pipeline, "export_run", fail)
    result = CliRunner().invoke(app, ["export", str(run)])
    assert isinstance(result.exception, MissingExtraError)
    assert "'timm' is not installed" in str(result.exception)


def test_versions_follow_each_other(network, findings, repository: Path) -> None:
    told: list[str] = []
    first, second = (
        export_version(network, findings, repository=repository, pictures=SAMPLES[:2], say=told.append)
        for _ in range(2)
    )
    assert (first.version, second.version) == (1, 2)
    assert read_manifest(second.directory).findings.operating_point.model_version == 2
    assert first.parity.pictures == 2
    assert told[:2] == ["exporting the graph", "comparing it with the network on 2 pictures"]


def test_a_taken_version_is_refused_before_the_work(network, findings, repository: Path) -> None:
    export_version(network, findings, repository=repository, pictures=SAMPLES[:1])
    told: list[str] = []
    with pytest.raises(UsageError, match="versions never change"):
        export_version(network, findings, repository=repository, pictures=SAMPLES[:1], version=1, say=told.append)
    assert told == []


def test_what_fails_parity_is_not_published(network, findings, repository: Path, monkeypatch) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    with pytest.raises(ParityError, match="nothing was published"):
        export_version(network, findings, repository=repository, pictures=SAMPLES[:1], version=2)
    assert not (repository / "classifier" / "2").exists()


def test_without_pictures_nothing_is_exported(network, findings, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        export_version(network, findings, repository=repository, pictures=[])
    with pytest.raises(UsageError, match="no folder"):
        find_pictures(tmp_path / "missing")


def test_pictures_are_found_and_spread(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a/1.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_pictures(tmp_path) == [tmp_path / "a" / "1.jpg", tmp_path / "b" / "2.PNG"]
    many = [Path(str(number)) for number in range(1000)]
    taken = spread(many)
    assert len(taken) <= PARITY_PICTURES
    assert taken[-1] in many[900:]
    assert spread(many[:3]) == many[:3]
