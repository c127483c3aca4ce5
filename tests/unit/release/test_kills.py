"""SIGKILL at every step, in real processes: the next command finishes or undoes, and nothing half-made is served."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from promotion_kit import Ground, content, die_at, ready_to_die, register_toy, run_promote, run_register, run_rollback
from repository_server import KEY, RepositoryServer
from toy_model import toy_graph

from veriphoto.manifest import read_manifest, verify_onnx
from veriphoto_release.candidate import load_candidate
from veriphoto_release.journal import JOURNAL_FILE
from veriphoto_release.promotion import promote, settle
from veriphoto_release.publish import latest
from veriphoto_release.registration import settle_exports
from veriphoto_release.registry import CHALLENGER, CHAMPION

BEFORE = ("find", "verify", "publish")
"""Nothing is changed yet."""
UNDONE = ("write", "load", "golden", "alias")
FINISHED = ("alias: served", "alias: champion", "alias: challenger", "alias: journal", "done")


@pytest.fixture(scope="session", autouse=True)
def beside() -> None:
    """Before the registry is made, which takes as long."""
    ready_to_die()


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graph") / "toy.onnx"
    file.write_bytes(toy_graph(3)[0].SerializeToString())
    return file


def consistent(ground: Ground, server: RepositoryServer) -> None:
    """What is served is whole, and repository, server and registry agree."""
    classifier = ground.repository / "classifier"
    assert not (classifier / JOURNAL_FILE).exists()
    assert not list(classifier.glob(".staging-*"))
    version = latest(ground.repository)
    assert server.version == version
    directory = classifier / str(version)
    verify_onnx(directory, read_manifest(directory))
    assert version in [each.version for each in ground.registry.find(CHAMPION).served]


@pytest.mark.parametrize("step", [*BEFORE, *UNDONE, *FINISHED])
def test_promote_killed(step: str, ground: Ground, server: RepositoryServer) -> None:
    assert die_at(run_promote, step, (ground, server.url, KEY, "2")) == -signal.SIGKILL
    settle(ground.place(server.triton))
    consistent(ground, server)
    expected = 2 if step in FINISHED else 1
    assert ground.registry.find(CHAMPION).number == expected
    if expected == 1:  # and it can be done again
        assert promote("2", ground.place(server.triton), judge=content).model == 2
        consistent(ground, server)


@pytest.mark.parametrize("step", ["load", "alias: champion"])
def test_rollback_killed(step: str, ground: Ground, server: RepositoryServer) -> None:
    promote("2", ground.place(server.triton), judge=content)
    assert die_at(run_rollback, step, (ground, server.url, KEY, "")) == -signal.SIGKILL
    settle(ground.place(server.triton))
    consistent(ground, server)
    assert ground.registry.find(CHAMPION).number == (1 if step == "alias: champion" else 2)


@pytest.mark.parametrize("step", ["undo: load", "undo: journal"])
def test_the_undoing_killed(step: str, ground: Ground, server: RepositoryServer) -> None:
    server.offset = 0.2
    assert die_at(run_promote, step, (ground, server.url, KEY, "2")) == -signal.SIGKILL
    server.offset = 0.0
    settle(ground.place(server.triton))
    consistent(ground, server)
    assert server.version == 1


def test_a_server_that_died_too(ground: Ground) -> None:
    """It starts again on what the repository then holds."""
    with RepositoryServer(ground.repository).run() as server:
        assert die_at(run_promote, "golden", (ground, server.url, KEY, "2")) == -signal.SIGKILL
        assert server.version == 2
        away = server.triton
    settle(ground.place(away))
    with RepositoryServer(ground.repository).run() as server:
        consistent(ground, server)
        assert server.version == 1


@pytest.mark.parametrize("step", ["run", "upload", "version", "alias", "done"])
def test_registering_killed(step: str, ground: Ground, graph_file: Path) -> None:
    assert die_at(run_register, step, (graph_file, ground, 3)) == -signal.SIGKILL
    settle_exports(ground.registry)
    numbers = [model.number for model in ground.registry.models()]
    assert numbers == ([1, 2, 3] if step in ("alias", "done") else [1, 2])
    assert ground.registry.find(CHALLENGER).number == numbers[-1]
    for model in ground.registry.models():
        load_candidate(ground.registry.download(model), "registered", sha256=model.sha256)
    assert register_toy(ground.registry, 3) == numbers[-1] + 1
