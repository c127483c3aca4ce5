from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from promotion_kit import Ground, content
from repository_server import KEY, RepositoryServer
from typer.testing import CliRunner

from veriphoto.errors import UsageError
from veriphoto_client.commandline.app import build
from veriphoto_release.promotion import promote
from veriphoto_release.versions import published

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "model_repository" / "classifier"
WITHOUT = """
import sys

without = sys.argv.pop(1).split(",")

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in without:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from veriphoto_client.cli import main
main()
"""


def test_versions_come_in_order_of_their_numbers_and_broken_ones_say_why(tmp_path: Path) -> None:
    classifier = tmp_path / "classifier"
    shutil.copytree(SHIPPED / "2", classifier / "2")
    shutil.copytree(SHIPPED / "2", classifier / "10")
    (classifier / "3").mkdir()  # no graph: Triton serves no such version
    (classifier / ".withdrawn-11").mkdir()
    found = published(tmp_path)
    assert [each.number for each in found] == [2, 10]
    assert found[0].recipe == "product"
    assert found[0].second_opinion
    assert "manifest_invalid" in found[1].recipe  # a manifest of version 2 in the folder of version 10


def test_models_list_needs_no_training_environment(tmp_path: Path) -> None:
    var = tmp_path / "var"
    done = listed(var, "--json")
    assert json.loads(done.stdout)["serving"] is None  # no server runs
    assert json.loads(done.stdout)["next_start"] == max(int(path.name) for path in SHIPPED.glob("[0-9]*"))
    assert not var.exists()
    var.mkdir()
    (var / "mlflow.db").touch()
    done = listed(var)
    assert "from the next start" in done.stdout
    assert "the registry at sqlite:///" in done.stderr
    assert "pip install -e '.[registry]'" in done.stderr


def test_a_rollback_needs_mlflow_and_what_a_server_has(ground: Ground, server: RepositoryServer) -> None:
    promote("2", ground.place(server.triton), judge=content)
    options = [f"--var={ground.root / 'var'}", f"--model-repository={ground.repository}", f"--triton-url={server.url}"]

    def rollback(without: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", WITHOUT, without, "models", "rollback", *options],
            cwd=ROOT,
            env={**os.environ, "VERIPHOTO_TRITON_ADMIN_KEY": KEY},
            capture_output=True,
            text=True,
            check=False,
        )

    refused = rollback("torch,timm,onnxscript,mlflow")
    assert refused.returncode == 2
    assert "[missing_extra] 'mlflow' is not installed; " in refused.stderr
    assert "pip install -e '.[registry]'" in refused.stderr
    assert server.version == 2, "nothing has changed"
    done = rollback("torch,timm,onnxscript")
    assert done.returncode == 0, done.stderr
    assert "rollback: model 1 serves as version 3, after version 2" in done.stdout
    assert server.version == 3


@pytest.mark.parametrize("command", ["list", "rollback"])
def test_a_folder_without_a_repository_is_told_from_a_repository_without_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build(), ["models", command])
    assert isinstance(result.exception, UsageError)
    assert result.exception.message == (
        "model_repository is no directory; name the model repository with --model-repository"
    )
    (tmp_path / "model_repository" / "classifier").mkdir(parents=True)
    assert "nothing is served yet" in CliRunner().invoke(build(), ["models", "list"]).output


@pytest.mark.parametrize("command", [["show", "1"], ["shadow"], ["shadow", "2"]])
def test_commands_that_read_make_no_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build(), ["models", *command])
    assert isinstance(result.exception, UsageError)
    assert f"there is no registry at sqlite:///{tmp_path / 'var' / 'mlflow.db'}" in result.exception.message
    assert "--var" in result.exception.message
    assert list(tmp_path.iterdir()) == []


def listed(var: Path, *options: str) -> subprocess.CompletedProcess[str]:
    without = "torch,timm,mlflow,onnx,onnxruntime,sklearn"
    command = [sys.executable, "-c", WITHOUT, without, "models", "list", f"--var={var}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done
