"""What the documents tell people to type exists: commands, options, make targets, files, imports."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from veriphoto_client.commandline.app import build
from veriphoto_client.commandline.unknown import known_variables

ROOT = Path(__file__).parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
DOCUMENTS = [*TOP, *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS_OF_THE_READER = ("DIR", "FOLDER", "shop-canaries")
TRACKED = {
    name.split("/")[0]
    for name in subprocess.run(
        ["git", "ls-files", "*/*"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
}
PLACEHOLDER = re.compile(r"/N\b|[A-Z]{3,}|\.\.\.")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:\.venv/bin/)?(?:veriphoto|make) [a-z][^`]*)`")
_COMMAND = re.compile(r"^(?:\.venv/bin/)?(veriphoto|make) ")


TESTS_NAMED = [
    pytest.param(command, document.name, id=f"{document.name}: {command}")
    for document in DOCUMENTS
    for command in re.findall(r"`(?:\.venv/bin/)?(pytest tests/[^`]*)`", document.read_text())
]


def blocks(document: Path, *languages: str) -> list[str]:
    return [body for language, body in _BLOCK.findall(document.read_text()) if language in languages]


def typed(document: Path) -> Iterator[tuple[list[str], bool]]:
    """The words of every `veriphoto` and `make` command in a document, and whether it stands in a block of its own."""
    lines = [line for body in blocks(document, "sh") for line in body.replace("\\\n", " ").splitlines()]
    prompts = [line for body in blocks(document, "console") for line in body.replace("\\\n", " ").splitlines()]
    lines += [line.removeprefix("$ ") for line in prompts if line.startswith("$ ")]
    mentions = _INLINE.findall(document.read_text())
    for line, whole in [*((line, True) for line in lines), *((line, False) for line in mentions)]:
        if _COMMAND.match(line):
            yield shlex.split(line.partition(" #")[0].replace("...", "")), whole


def shell_lines() -> list[Any]:
    """Every line of the documents' shell blocks that runs neither `veriphoto` nor `make`."""
    found = []
    for document in DOCUMENTS:
        lines = [line for body in blocks(document, "sh") for line in body.replace("\\\n", " ").splitlines()]
        rest = [line.strip() for line in lines if line.strip() and not _COMMAND.match(line) and line[0] not in "#{"]
        found += [pytest.param(line, id=f"{document.name}: {line[:60]}") for line in rest]
    return found


def commands(program: str) -> list[Any]:
    return [
        pytest.param(words[1:], whole, id=f"{document.name}: {' '.join(words)}")
        for document in DOCUMENTS
        for words, whole in typed(document)
        if Path(words[0]).name == program
    ]


@pytest.fixture(scope="module")
def program() -> Any:
    return typer.main.get_command(build())


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder, and beside it the folders that documents call by a name of their own."""
    for path in ROOT.iterdir():
        if path.name not in ("var", ".venv", ".git"):
            (tmp_path / path.name).symlink_to(path)
    for name in FOLDERS_OF_THE_READER:
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("words", "whole"), commands("veriphoto"))
def test_commands_are_accepted_as_written(words: list[str], whole: bool, checkout: Path, program: Any) -> None:
    """Command, options, their values and what is required: all but running it. A mere mention may lack some."""
    command = program
    path = "veriphoto"
    while hasattr(command, "commands"):
        if command.params and (not words or words[0].startswith("--")):
            break  # a group that does something by itself, with options of its own
        assert words, "a group of commands is no command"
        path, command = f"{path} {words[0]}", command.commands.get(words[0])
        assert command, f"there is no command {path}"
        words = words[1:]
    named = [word for word in words if word.split("/")[0] in TRACKED and not PLACEHOLDER.search(word)]
    assert all((checkout / word).exists() for word in named), named
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known
    if whole and "--help" not in words:
        command.make_context(path, list(words))


@pytest.mark.parametrize("line", shell_lines())
def test_what_other_programs_are_told_exists(line: str) -> None:
    """Files of ours, modules, extras and compose profiles: what a machine without those programs can check."""
    words = [word.removeprefix("./").rstrip(";") for word in shlex.split(line.partition(" #")[0], comments=True)]
    for word in words:
        name = word.rpartition("@")[2].rpartition("=")[2]
        if name.split("/")[0] in TRACKED and not PLACEHOLDER.search(name):
            assert list(ROOT.glob(name)), name
    if "-m" in words and words[0].rpartition("/")[2].startswith("python"):
        module = words[words.index("-m") + 1]
        assert importlib.util.find_spec(module), module
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for found in re.findall(r"(?:\.|veriphoto)\[([a-z,]+)\]", line):
        assert set(found.split(",")) <= extras.keys(), found
    profiles = set(re.findall(r"profiles: \[(.*?)\]", (ROOT / "compose.yaml").read_text()))
    for option, value in itertools.pairwise(words):
        if option == "--profile":
            assert value == "*" or value in {name for each in profiles for name in each.split(", ")}, value


@pytest.mark.parametrize(("words", "whole"), commands("make"))
def test_make_targets_exist(words: list[str], whole: bool) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words if "=" not in word} <= targets


@pytest.mark.parametrize("target", ["serve", "page", "demo"])
def test_targets_that_serve_pass_options_on(target: str) -> None:
    options = "--gateway-port 9080"
    dry = ["make", "--no-print-directory", "--dry-run", target, f"ARGS={options}"]
    recipe = subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert recipe[-1].startswith(".venv/bin/veriphoto serve")
    assert recipe[-1].endswith(options)


def test_every_variable_that_is_named_anywhere_is_known(program: Any) -> None:
    """In the documents, in the packages and in what deploys them: no command may call one of these unknown."""
    places = ("core", "client", "serving", "release", "export", "training", "monitoring", "review", "model_repository")
    listed = ["git", "ls-files", "*.md", "compose.yaml", "docker", "deploy", ".github", *places]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    texts = [(ROOT / name).read_bytes().decode("utf-8", "ignore") for name in files if name != "CHANGELOG.md"]
    named = {name for text in texts for name in re.findall(r"\bVERIPHOTO_[A-Z0-9_]*[A-Z0-9]\b", text)}
    assert {"VERIPHOTO_API_KEYS_FILE", "VERIPHOTO_REVIEWER_HEADER", "VERIPHOTO_TAG"} <= named
    signals_of_coop = {"VERIPHOTO_FLAGGED", "VERIPHOTO_AI_PROBABILITY"}
    assert named - signals_of_coop <= known_variables(program)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_the_site_has_every_page_and_no_page_links_out_of_it() -> None:
    """What `mkdocs build --strict` would refuse, where mkdocs is not installed."""
    docs = ROOT / "docs"
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}
    for page in docs.rglob("*.md"):
        targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
        inside = [(page.parent / target).resolve() for target in targets if not target.startswith("http")]
        assert all(path.is_relative_to(docs) for path in inside), page.name


@pytest.mark.parametrize(("command", "document"), TESTS_NAMED)
def test_tests_that_are_named_exist(command: str, document: str) -> None:
    words = shlex.split(command)
    files = [ROOT / word for word in words if word.startswith("tests/")]
    assert all(file.exists() for file in files), document
    chosen = words[words.index("-k") + 1].split() if "-k" in words else []
    names = [name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())] if chosen else []
    assert all(any(part in name for name in names) for part in chosen if part not in ("and", "or", "not")), names


def test_the_python_example_runs_against_what_there_is() -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, name.name) for name in node.names)


def test_results_are_those_of_the_version_that_ships() -> None:
    """What the README, the model card and the experiments repeat of its second opinion."""
    tracked = ["git", "ls-files", "model_repository/classifier/*/second_opinion.json"]
    shipped = subprocess.run(tracked, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    metrics = json.loads((ROOT / max(shipped, key=lambda name: int(name.split("/")[2]))).read_text())["metrics"]
    clean, mixed = ({n[6:]: v for n, v in metrics.items() if n.startswith(kind)} for kind in ("clean_", "mixed_"))

    def percent(name: str, digits: int = 0) -> tuple[str, str]:
        return f"{100 * clean[name]:.{digits}f} %", f"{100 * mixed[name]:.{digits}f} %"

    found, alarms = percent("found_product"), percent("false_alarms_product", 1)
    told = (ROOT / "README.md").read_text()
    assert f"{found[0]} of the AI-generated ones `ai_generated` ({found[1]} after recompression)" in told
    assert f"and {alarms[0]} ({alarms[1]}) of the" in told
    card = (ROOT / "docs" / "model_card.md").read_text()
    rows = {
        "AI-generated photos called `ai_generated`": percent("found"),
        "the same, product photos": found,
        "real product photos called `ai_generated`": alarms,
        "all real photos called `ai_generated`": percent("false_alarms", 1),
        "AI-generated photos called `real`": percent("ai_called_real", 1),
        "calibration error (ECE)": (f"{clean['ece']:.3f}", f"{mixed['ece']:.3f}"),
    }
    assert all(f"| {name} | {figures[0]} | {figures[1]} |" in card for name, figures in rows.items())
    for name, row in (("auroc", "AUROC, all photos"), ("auroc_product", "AUROC, product photos")):
        assert re.search(rf"\| {row} \| {clean[name]:.3f} .*?\| {mixed[name]:.3f} ", card), row
    table = (ROOT / "docs" / "experiments.md").read_text()
    assert (
        f"| {clean['auroc']:.3f} / {clean['auroc_product']:.3f} | {mixed['auroc']:.3f} / {mixed['auroc_product']:.3f} |"
        in table
    )
    assert (
        f"| {clean['found']:.3f} / {clean['found_product']:.3f} | {mixed['found']:.3f} / {mixed['found_product']:.3f} |"
        in table
    )


def test_every_target_is_explained() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    explained = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(phony[1].split()) == explained
