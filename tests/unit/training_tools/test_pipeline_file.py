"""dvc.yaml calls commands that exist, with options that exist, and its stages hang together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command

from veriphoto_export import calibrate_cli
from veriphoto_export import cli as export_cli
from veriphoto_training import cli as training_cli

ROOT = Path(__file__).parents[3]
PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())


def _commands() -> Any:
    app = typer.Typer()
    for part in (training_cli, export_cli, calibrate_cli):
        part.register(app)
    return get_command(app)


def _words(stage: str) -> list[str]:
    """The stage's command with the parameters put in, as dvc does."""
    words: list[str] = []
    for word in PIPELINE[stage]["cmd"].split():
        value: Any = word
        if word.startswith("${"):
            value = PARAMS
            for key in word[2:-1].split("."):
                value = value[key]
        words += [f"--{key}" for key in value] if isinstance(value, dict) else [str(value)]
    return words


def _paths(entries: list[Any]) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def test_the_stages_are_those_of_the_design() -> None:
    assert [name for name in PIPELINE if name in ("prepare", "train", "evaluate", "export")] == [
        "prepare",
        "train",
        "evaluate",
        "export",
    ]


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_calls_what_exists(stage: str) -> None:
    program, *words = _words(stage)
    assert program == "veriphoto"
    command = _commands()
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_what_a_stage_needs_exists_or_was_made_before() -> None:
    made: list[str] = []
    for stage in PIPELINE.values():
        for path in _paths(stage["deps"]):
            there = path.startswith("${") or (ROOT / path).exists() or any(path.startswith(one) for one in made)
            assert there, path
        made += _paths(stage.get("outs", [])) + _paths(stage.get("metrics", []))
