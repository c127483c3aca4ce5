"""What the documents tell people to type exists: commands, options, make targets, files, imports."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from veriphoto_client.commandline.app import build

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:\.venv/bin/)?(?:veriphoto|make) [a-z][^`]*)`")
_COMMAND = re.compile(r"^(?:\.venv/bin/)?(veriphoto|make) ")


def blocks(document: Path, *languages: str) -> list[str]:
    return [body for language, body in _BLOCK.findall(document.read_text()) if language in languages]


def typed(document: Path) -> Iterator[list[str]]:
    """The words of every `veriphoto` and `make` command in a document."""
    lines = [line for body in blocks(document, "sh") for line in body.replace("\\\n", " ").splitlines()]
    prompts = [line for body in blocks(document, "console") for line in body.replace("\\\n", " ").splitlines()]
    lines += [line.removeprefix("$ ") for line in prompts if line.startswith("$ ")]
    lines += _INLINE.findall(document.read_text())
    for line in lines:
        if _COMMAND.match(line):
            yield shlex.split(line.partition(" #")[0].replace("...", ""))


def commands(program: str) -> list[Any]:
    return [
        pytest.param(words[1:], id=f"{document.name}: {' '.join(words)}")
        for document in DOCUMENTS
        for words in typed(document)
        if Path(words[0]).name == program
    ]


@pytest.mark.parametrize("words", commands("veriphoto"))
def test_commands_and_options_exist(words: list[str]) -> None:
    command: Any = typer.main.get_command(build())
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        if command.params and (not words or words[0].startswith("--")):
            break  # a group that does something by itself, with options of its own
        assert words, "a group of commands is no command"
        name = words.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in {*known, "--help"}


@pytest.mark.parametrize("words", commands("make"))
def test_make_targets_exist(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words if "=" not in word} <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_the_python_example_runs_against_what_there_is() -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, name.name) for name in node.names)


def test_every_target_is_explained() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    explained = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(phony[1].split()) == explained
