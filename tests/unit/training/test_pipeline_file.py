"""dvc.yaml calls commands that exist, with options that exist, and its stages hang together."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command

from veriphoto_release.commands import calibrate as calibrate_cli
from veriphoto_release.commands import export as export_cli
from veriphoto_training.commands import train as training_cli

ROOT = Path(__file__).parents[3]
PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())


def _commands() -> Any:
    app = typer.Typer()
    for part in (training_cli, export_cli, calibrate_cli):
        part.register(app)
    return get_command(app)


def _value(name: str) -> Any:
    value: Any = PARAMS
    for key in name.split("."):
        value = value[key]
    return value


def _options(values: dict[str, Any]) -> list[str]:
    """As dvc spells a mapping with the settings of .dvc/config: lists repeat, booleans are flags."""
    words: list[str] = []
    for key, value in values.items():
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
        else:
            for one in value if isinstance(value, list) else [value]:
                words += [f"--{key}", str(one)]
    return words


def _words(stage: str) -> list[str]:
    """The stage's command line with the parameters put in, as dvc does."""
    words: list[str] = []
    for word in PIPELINE[stage]["cmd"].split():
        value = _value(word[2:-1]) if word.startswith("${") else word
        words += _options(value) if isinstance(value, dict) else [str(value)]
    return words


def _paths(entries: list[Any]) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def test_the_stages_are_those_of_the_design() -> None:
    assert list(PIPELINE) == ["prepare", "teacher", "train", "calibrate", "evaluate", "export"]
    # On a clean checkout `dvc repro` ends with an error at a frozen stage, whose outputs nobody has made.
    assert not any(stage.get("frozen") for stage in PIPELINE.values())


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stages_command_line_is_accepted(stage: str) -> None:
    """Parsed by the command itself, values and all, and not run."""
    program, *words = _words(stage)
    assert program == "veriphoto"
    command = _commands()
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    assert command.make_context(stage, [*words]).params


def test_a_word_that_no_command_knows_is_not_accepted() -> None:
    with pytest.raises(Exception, match="No such option: --nonsense"):
        _commands().commands["train"].make_context("train", ["--data", "x", "--nonsense", "1"])


def test_the_teacher_learns_nothing_from_the_sources_that_training_keeps_out() -> None:
    """Or what judges the classifier would have taught it."""
    assert PARAMS["train"]["holdout-source"] == PARAMS["teacher"]["leave-out"]


def test_dvc_spells_options_as_this_test_does() -> None:
    settings = configparser.ConfigParser()
    settings.read_string("\n".join(line.strip() for line in (ROOT / ".dvc" / "config").read_text().splitlines()))
    assert dict(settings["parsing"]) == {"bool": "boolean_optional", "list": "append"}


def test_what_a_stage_needs_exists_or_was_made_before() -> None:
    made: list[str] = []
    for stage in PIPELINE.values():
        for path in _paths(stage["deps"]):
            there = path.startswith("${") or (ROOT / path).exists() or any(path.startswith(one) for one in made)
            assert there, path
        made += _paths(stage.get("outs", [])) + _paths(stage.get("metrics", []))
