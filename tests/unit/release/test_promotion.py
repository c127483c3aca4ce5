"""Promotion and rollback: the gate, the numbers, and what is left when a step fails."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import typer
from promotion_kit import GOLDEN, Ground, content, register_toy, run_promote
from repository_server import KEY, RepositoryServer
from small_disk import small_disk
from toy_model import SAMPLES, toy_bundle
from typer.testing import CliRunner

from veriphoto.errors import ChecksumError, ContractMismatchError, ModelError, ServiceUnavailableError, UsageError
from veriphoto.manifest import read_manifest, sha256_file
from veriphoto_release.adoption import adopt
from veriphoto_release.commands import models
from veriphoto_release.gate import Criterion
from veriphoto_release.journal import JOURNAL_FILE
from veriphoto_release.promotion import promote, rollback, settle
from veriphoto_release.publish import latest, publish
from veriphoto_release.registry import CHALLENGER, CHAMPION, EXPORT, FORCED, Registry
from veriphoto_release.triton import Triton


def versions(ground: Ground) -> list[str]:
    names = (path.name for path in (ground.repository / "classifier").iterdir())
    return sorted(name for name in names if name not in {"config.pbtxt", "configs"})


def numbers(ground: Ground, which: str) -> list[int]:
    return [each.version for each in ground.registry.find(which).served]


def unchanged(ground: Ground, server: RepositoryServer) -> bool:
    return versions(ground) == ["1"] and server.version == 1 and ground.registry.find(CHAMPION).number == 1


def test_there_and_back_and_there_again(ground: Ground, server: RepositoryServer) -> None:
    """A number is never used twice, and each leads to one model."""
    place = ground.place(server.triton)
    steps: list[str] = []
    assert promote(CHALLENGER, place, judge=content, step=steps.append).version == 2
    assert steps[:3] == ["settle", "triton", "adopt"]
    assert steps.index("compare") < steps.index("publish") < steps.index("load") < steps.index("golden")
    assert steps.index("golden") < steps.index("alias: champion")
    assert (server.version, ground.registry.find(CHAMPION).number) == (2, 2)
    assert ground.registry.find("2").aliases == (CHAMPION,)
    assert rollback(place).model == 1
    assert (server.version, numbers(ground, CHAMPION)) == (3, [1, 3])
    assert promote("2", place, judge=content).version == 4
    assert rollback(place).model == 1
    assert versions(ground) == ["1", "2", "3", "4", "5"]
    for entry, model in ground.registry.history():
        directory = ground.repository / "classifier" / str(entry.version)
        manifest = read_manifest(directory)
        assert entry.sha256 == manifest.onnx_sha256 == sha256_file(directory / "model.onnx")
        assert manifest.findings.lineage.run_id == model.tags["training_run_id"]


def test_rollback_needs_somewhere_to_go(ground: Ground, server: RepositoryServer) -> None:
    with pytest.raises(UsageError, match=r"stopped at 'find': there is no earlier champion.*version 1 still serves"):
        rollback(ground.place(server.triton))
    with pytest.raises(UsageError, match="model 2 never served"):
        rollback(ground.place(server.triton), to="2")
    assert unchanged(ground, server)


def test_a_worse_candidate_is_refused(ground: Ground, server: RepositoryServer) -> None:
    worse = Criterion(figure="AUROC", pictures=9, champion=0.9, candidate=0.8, allowed=0.005)
    with pytest.raises(ModelError, match=r"stopped at 'compare'.*AUROC: 0.8000 against 0.9000.*version 1 still serves"):
        promote("2", ground.place(server.triton), judge=lambda *_: [worse])
    assert unchanged(ground, server)


def test_a_server_that_scores_otherwise_gets_the_old_version_back(ground: Ground, server: RepositoryServer) -> None:
    """The number that may have answered someone is not used again."""
    server.offset = 0.01
    with pytest.raises(ModelError, match=r"stopped at 'golden'.*through Triton and.*version 1 still serves"):
        promote("2", ground.place(server.triton), judge=content)
    assert versions(ground) == [".withdrawn-2", "1"]
    assert server.version == 1
    server.offset = 0.0
    assert promote("2", ground.place(server.triton), judge=content).version == 3


def test_a_server_that_refuses_the_version(ground: Ground, server: RepositoryServer) -> None:
    server.refuse = "out of memory"
    with pytest.raises(ModelError, match=r"stopped at 'load'.*does not load the version: out of memory"):
        promote("2", ground.place(server.triton), judge=content)
    assert (ground.repository / "classifier" / JOURNAL_FILE).exists()
    server.refuse = ""
    undone = settle(ground.place(server.triton))
    assert undone is not None
    assert undone.version == 2
    assert server.version == 1
    assert versions(ground) == [".withdrawn-2", "1"]


def test_triton_down(ground: Ground) -> None:
    away = Triton(http_url="127.0.0.1:9", admin_key=KEY)
    with pytest.raises(ServiceUnavailableError, match=r"stopped at 'triton': .* is away.*nothing has changed"):
        promote("2", ground.place(away), judge=content)
    assert versions(ground) == ["1"]


def test_a_wrong_key(ground: Ground, server: RepositoryServer) -> None:
    with pytest.raises(UsageError, match=r"stopped at 'load'.*refuses the admin key"):
        promote("2", ground.place(replace(server.triton, admin_key="other")), judge=content)
    assert server.version == 1


def test_mlflow_down(ground: Ground, server: RepositoryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    place = replace(ground.place(server.triton), registry=Registry(ground.root / "var", uri="http://127.0.0.1:9"))
    with pytest.raises(ServiceUnavailableError, match=r"MLflow registry at http://127.0.0.1:9 failed"):
        promote("2", place, judge=content)
    assert unchanged(ground, server)


def test_mlflow_that_dies_before_the_alias_is_made_good_later(
    ground: Ground, server: RepositoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise ServiceUnavailableError("the MLflow registry is away")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "point", away)
        with pytest.raises(ServiceUnavailableError, match="version 2 serves, and the next command moves the alias"):
            promote("2", ground.place(server.triton), judge=content)
    settle(ground.place(server.triton))
    assert ground.registry.find(CHAMPION).number == 2
    assert server.version == 2


def tampered(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of model 2's artifact, which the registry will hand out."""
    copy = tmp_path / "artifact"
    shutil.copytree(ground.registry.download(ground.registry.find("2")), copy)
    monkeypatch.setattr(Registry, "download", lambda *_: copy)
    return copy


def test_a_corrupt_graph(ground: Ground, server: RepositoryServer, tmp_path: Path, monkeypatch) -> None:
    artifact = tampered(ground, tmp_path, monkeypatch)
    (artifact / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ChecksumError, match=r"stopped at 'verify'.*not the file its manifest describes"):
        promote("2", ground.place(server.triton), judge=content)
    manifest = (artifact / "manifest.json").read_text()
    old = read_manifest(artifact).onnx_sha256
    (artifact / "manifest.json").write_text(manifest.replace(old, sha256_file(artifact / "model.onnx")))
    with pytest.raises(ChecksumError, match="not the file that the registry knows"):
        promote("2", ground.place(server.triton), judge=content)
    assert unchanged(ground, server)


def test_another_contract(ground: Ground, server: RepositoryServer, tmp_path: Path, monkeypatch) -> None:
    artifact = tampered(ground, tmp_path, monkeypatch)
    text = (artifact / "manifest.json").read_text()
    (artifact / "manifest.json").write_text(text.replace('"crop_size": 224', '"crop_size": 256'))
    with pytest.raises(ContractMismatchError, match=r"stopped at 'verify'.*crop_size is 256, the code says 224"):
        promote("2", ground.place(server.triton), judge=content)
    assert unchanged(ground, server)


def test_what_came_some_other_way_is_adopted(ground: Ground, server: RepositoryServer) -> None:
    """As a shop's calibration does, which publishes into the repository itself."""
    publish(toy_bundle(7), ground.repository, 2)
    assert adopt(ground.registry, ground.repository, GOLDEN).number == 3
    assert adopt(ground.registry, ground.repository, GOLDEN).number == 3
    assert ground.registry.find(CHAMPION).tags["origin"] == "adopt"
    server.load()
    assert rollback(ground.place(server.triton)).model == 1


def test_the_champion_is_what_the_server_has_loaded(ground: Ground, server: RepositoryServer) -> None:
    """A version that was only published never served: no rollback goes there, and no failure leaves it loaded."""
    publish(toy_bundle(7), ground.repository, 2)
    place = ground.place(server.triton)
    server.offset = 0.01
    with pytest.raises(ModelError, match=r"stopped at 'golden'.*version 1 still serves"):
        promote("2", place, judge=content)
    assert server.version == 1
    server.offset = 0.0
    change = promote("2", place, judge=content)
    assert (change.version, change.previous) == (4, 1)
    assert rollback(place).model == 1
    exported = register_toy(ground.registry, 8)
    publish(toy_bundle(8), ground.repository, 6)
    sha256 = read_manifest(ground.repository / "classifier" / "6").onnx_sha256
    ground.registry.note_served(ground.registry.find(str(exported)), 6, sha256, EXPORT)
    assert promote("2", place, judge=content).version == 7
    assert rollback(place).model == 1


def test_a_reason_opens_the_gate_and_is_kept(ground: Ground, server: RepositoryServer) -> None:
    worse = Criterion(figure="AUROC", pictures=9, champion=0.9, candidate=0.8, allowed=0.005)
    place = ground.place(server.triton)
    assert promote("2", place, judge=lambda *_: [worse], force="a new camera").version == 2
    assert ground.registry.find("2").tags[FORCED] == "a new camera"
    rollback(place)
    promote("2", place, judge=content)
    assert not ground.registry.find("2").tags[FORCED]


def test_compare_adopts_what_is_published_first(ground: Ground, tmp_path: Path) -> None:
    """As in a fresh clone, where only the export is registered."""
    var, photos = tmp_path / "new var", tmp_path / "photos"
    register_toy(Registry(var), 2)
    for label, photo in (("real", SAMPLES[0]), ("ai", SAMPLES[1])):
        (photos / label).mkdir(parents=True)
        shutil.copy(photo, photos / label)
    app = typer.Typer()
    app.callback()(lambda: None)
    models.register(app)
    options = [
        "--evaluation",
        photos,
        "--var",
        var,
        "--model-repository",
        ground.repository,
        "--golden",
        SAMPLES[0].parent,
    ]
    done = CliRunner().invoke(app, ["models", "compare", *map(str, options)])
    assert done.exit_code == 0, done.output
    assert any("AUROC, clean" in line and "yes" in line for line in done.stdout.splitlines())
    assert Registry(var).find(CHAMPION).tags["origin"] == "adopt"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB; only root may make one."""
    with small_disk(tmp_path / "small disk", "300k") as place:
        yield place


def fill(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as open_file:
        while True:
            open_file.write(b"\0" * 4096)


@pytest.mark.parametrize(
    ("fault", "message"),
    [("full", "No space left on device"), ("read-only", "Read-only file system")],
)
def test_a_disk_that_refuses(fault: str, message: str, ground: Ground, mount: Path) -> None:
    shutil.copytree(ground.repository, mount / "repository")
    place = ground.place(Triton(http_url=""))
    if fault == "full":
        fill(mount / "filler")
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    with RepositoryServer(mount / "repository").run() as server:
        where = replace(place, repository=mount / "repository", triton=server.triton)
        with pytest.raises(ModelError, match=f"stopped at 'publish'.*{message}.*version 1 still serves"):
            promote("2", where, judge=content)
        assert server.version == 1
    assert latest(mount / "repository") == 1


def test_a_graph_that_does_not_parse(tmp_path: Path, ground: Ground, server: RepositoryServer, monkeypatch) -> None:
    """Also where sha256 and registry agree on it."""
    artifact = tampered(ground, tmp_path, monkeypatch)
    graph = onnx.load(artifact / "model.onnx")
    graph.graph.node[0].op_type = "Nonsense"
    (artifact / "model.onnx").write_bytes(graph.SerializeToString())
    text, old = (artifact / "manifest.json").read_text(), read_manifest(artifact).onnx_sha256
    (artifact / "manifest.json").write_text(text.replace(old, sha256_file(artifact / "model.onnx")))
    ground.registry.tag(ground.registry.find("2"), "onnx_sha256", sha256_file(artifact / "model.onnx"))
    with pytest.raises(ModelError, match=r"stopped at 'verify'.*no graph that can be served"):
        run_promote(ground, server.url, KEY, "2", lambda _: None)
    assert unchanged(ground, server)


def test_registered_models_can_be_listed(ground: Ground) -> None:
    assert [model.number for model in ground.registry.models()] == [1, 2]
    assert ground.registry.find(CHALLENGER).number == 2
    assert ground.registry.find("1").metrics == {"auroc": 0.9}
    with pytest.raises(UsageError, match="has no model '9'; it has: 1, 2"):
        ground.registry.find("9")
    with pytest.raises(UsageError, match=r"no registry at sqlite.*another var.*; .* or name the server's folder with"):
        Registry(ground.root / "another var").find("1")
    with pytest.raises(UsageError, match=r"it has: none; .* or name the server's folder with --var"):
        Registry(ground.root / "var", name="another").find("1")
    assert register_toy(ground.registry, 3) == 3
    assert ground.registry.find(CHALLENGER).number == 3
