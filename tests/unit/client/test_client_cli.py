"""The command line as a shell sees it: output, exit codes, and parts that are broken."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from fake_triton import FakeTriton, score
from photo_corpus import picture, write_corpus
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from veriphoto import __version__
from veriphoto.errors import MissingExtraError, ServiceUnavailableError
from veriphoto_client.commandline.app import build
from veriphoto_client.scan.progress import ScanProgress
from veriphoto_client.scan.rows import COLUMNS

NOBODY = "http://127.0.0.1:9"
CLIENT = EntryPoint("client", "veriphoto_client.commands:register", "veriphoto.commands")


def start(*arguments: str | Path, url: str = NOBODY, **options) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        "from veriphoto_client.cli import main; main()",
        *map(str, arguments),
    ]
    environment = {**os.environ, "VERIPHOTO_URL": url, "COLUMNS": "200"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen(command, env=environment, **{**pipes, **options})


def veriphoto(*arguments: str | Path, url: str = NOBODY) -> tuple[int, str, str]:
    process = start(*arguments, url=url)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(picture(1))
    return path


def test_version():
    assert veriphoto("--version") == (0, f"veriphoto {__version__}\n", "")


def test_predict_says_it_in_a_sentence_or_json(server, photo):
    code, out, err = veriphoto("predict", photo, url=server.url)
    assert (code, err) == (0, f"scored by the server at {server.url}\n")
    assert "probability" in out
    assert "model version 1" in out
    code, out, _ = veriphoto("predict", photo, "--json", url=server.url)
    shown = json.loads(out)
    assert code == 0
    assert shown["path"] == str(photo)
    assert {"verdict", "probability", "confidence", "threshold", "model_version", "logit", "statistics"} <= set(shown)


def test_health(server):
    code, out, _ = veriphoto("health", url=server.url)
    assert (code, "healthy" in out) == (0, True)
    code, out, _ = veriphoto("health", "--json", url=server.url)
    assert (code, json.loads(out)["model_version"]) == (0, 1)


def test_an_option_beats_the_environment(server, photo):
    assert veriphoto("predict", photo, "--url", server.url, url=NOBODY)[0] == 0


@pytest.mark.parametrize("command", [["health"], ["predict", "PHOTO"], ["scan", "PHOTO"]])
def test_nobody_there_is_exit_2(photo, command):
    code, out, err = veriphoto(*(photo if word == "PHOTO" else word for word in command))
    assert (code, out) == (2, "")
    assert err.startswith("error: [service_unavailable] http://127.0.0.1:9")
    assert "Traceback" not in err


def test_a_bad_picture_is_exit_2_for_predict(server, tmp_path):
    code, _, err = veriphoto("predict", tmp_path / "gone.jpg", url=server.url)
    assert code == 2
    assert err.startswith("error: [unreadable_file]")


def test_scan_into_a_pipe_is_csv(server, photo):
    code, out, err = veriphoto("scan", photo, url=server.url)
    (row,) = csv.DictReader(out.splitlines())
    assert code == 0
    assert tuple(row) == COLUMNS
    assert (row["path"], row["error"]) == (str(photo), "")
    assert "  scored:   1 (" in err


def test_scan_exits_1_when_some_failed_and_stays_1_when_resumed(server, tmp_path):
    sound, broken = write_corpus(tmp_path / "photos", 40, 4)
    for _ in range(2):
        code, out, err = veriphoto("scan", tmp_path / "photos", "-o", tmp_path / "out.jsonl", url=server.url)
        assert (code, out) == (1, ""), err
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert Counter(row["path"] for row in rows) == Counter(sound | broken)
    assert f"  failed:   4 (reasons under 'error' in {tmp_path / 'out.jsonl'})\n" in err
    assert "  files:    4 again after a failure, 36 unchanged\n" in err


def test_scan_exits_0_when_all_were_scored(server, tmp_path):
    write_corpus(tmp_path / "photos", 10, 0)
    assert veriphoto("scan", tmp_path / "photos", "-o", tmp_path / "out.csv", url=server.url)[0] == 0


@pytest.mark.parametrize(
    "arguments", [["/no/such/folder"], [], [".", "-o", "out.txt"], [".", "--in-flight", "0"], [".", "--timeout", "0"]]
)
def test_scan_exits_2_when_asked_for_nonsense(server, arguments):
    assert veriphoto("scan", *arguments, url=server.url)[0] == 2


def slowly(body: bytes) -> tuple[int, bytes]:
    time.sleep(0.02)
    return score(body)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_scan_that_is_stopped_is_gone_on_with(server: FakeTriton, tmp_path, signal_number):
    sound, broken = write_corpus(tmp_path / "photos", 200, 10)
    output = tmp_path / "out.csv"
    server.answer = slowly
    process = start("scan", tmp_path / "photos", "-o", output, url=server.url)
    while not output.exists() or output.read_bytes().count(b"\n") < 40:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == (130 if signal_number == signal.SIGINT else -signal_number)
    assert "Traceback" not in err
    if signal_number == signal.SIGINT:
        assert "run the same command again" in err
    before = output.read_bytes()
    asked = len(server.requests)
    server.answer = score  # how slow it is only gave the signal its time

    assert veriphoto("scan", tmp_path / "photos", "-o", output, url=server.url)[0] == 1
    kept = [line for line in before[: before.rfind(b"\n") + 1].splitlines() if b",[" not in line]
    assert set(kept) <= set(output.read_bytes().splitlines())
    with output.open(newline="") as file:
        assert Counter(row["path"] for row in csv.DictReader(file)) == Counter(sound | broken)
    assert len(server.requests) - asked < 200 - 30


def test_a_server_that_dies_mid_scan_is_exit_2_and_leaves_no_false_rows(server, tmp_path):
    write_corpus(tmp_path / "photos", 60, 0)
    alive = iter(range(30))
    server.answer = lambda body: (
        score(body) if next(alive, None) is not None else (503, b'{"error": "Server is exiting"}')
    )
    code, _, err = veriphoto(
        "scan", tmp_path / "photos", "-o", tmp_path / "out.csv", "--patience", "0.5", url=server.url
    )
    assert code == 2
    assert "[service_unavailable]" in err
    assert "run the same command again" in err
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert 20 < len(rows) < 30
    assert not any(row["error"] for row in rows)


def test_a_reader_that_stops_reading_gets_no_stack_trace(server, tmp_path):
    write_corpus(tmp_path / "photos", 200, 0)
    process = start("scan", tmp_path / "photos", url=server.url)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) != 0
    assert "Traceback" not in err


def broken_plugin(app: object) -> None:
    raise RuntimeError("half installed")


def plugin_without_its_extra(app: object) -> None:
    raise MissingExtraError("train", "torch")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_package.cli:register", "no_such_package"),
        ("test_client_cli:broken_plugin", "half installed"),
        ("test_client_cli:plugin_without_its_extra", ".venv/bin/pip install -e '.[train]'"),
    ],
)
def test_a_broken_part_leaves_the_others_alone_and_is_named(value, said):
    app = build([EntryPoint("wobbly", value, "veriphoto.commands"), CLIENT])
    runner = CliRunner()
    assert "scan" in runner.invoke(app, ["--help"]).output
    result = runner.invoke(app, ["wobble"])
    assert result.exit_code == 2
    assert "'wobbly' are not available" in result.output
    assert said in result.output


def test_a_server_that_is_not_installed_says_what_installs_it():
    app = build([EntryPoint("serving", "no_such_package.cli:register", "veriphoto.commands"), CLIENT])
    result = CliRunner().invoke(app, ["serve"])
    assert "'no_such_package' is not installed; run make serve once, or .venv/bin/pip" in result.output
    assert "-e '.[serving]'" in result.output


def test_a_mistyped_command_blames_no_broken_part():
    app = build([EntryPoint("wobbly", "no_such_package.cli:register", "veriphoto.commands"), CLIENT])
    result = CliRunner().invoke(app, ["scna"])
    assert result.exit_code == 2
    assert "scan" in result.output
    assert "not available" not in result.output


def test_every_part_that_the_project_names_registers_commands():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    parts = project["entry-points"]["veriphoto.commands"]
    for name, value in parts.items():
        app = build([EntryPoint(name, value, "veriphoto.commands")])
        assert app.registered_commands or app.registered_groups, name
    everything = build(EntryPoint(name, value, "veriphoto.commands") for name, value in parts.items())
    assert {"scan", "page", "serve", "gateway", "monitor"} <= set(get_command(everything).commands)
    assert "not available" not in CliRunner().invoke(everything, ["no-such-thing"]).output


def test_a_misspelt_variable_is_named_once_and_its_value_is_not(monkeypatch):
    monkeypatch.setenv("VERIPHOTO_SECOND_OPINON", "never shown")
    monkeypatch.setenv("VERIPHOTO_XYZZY", "1")
    monkeypatch.setenv("VERIPHOTO_LOG_FORMAT", "text")
    warnings = [line for line in veriphoto("health")[2].splitlines() if line.startswith("warning: ")]
    assert warnings == [
        "warning: the environment variable VERIPHOTO_SECOND_OPINON is unknown and sets nothing; "
        "did you mean VERIPHOTO_SECOND_OPINION?",
        "warning: the environment variable VERIPHOTO_XYZZY is unknown and sets nothing",
    ]


def test_every_installed_part_is_asked_to_register():
    assert {"scan", "predict", "health"} <= {command.name for command in build([CLIENT]).registered_commands}


def test_options_are_these():
    options = {}
    runner = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"})
    for command in ("scan", "predict", "health"):
        words = runner.invoke(build([CLIENT]), [command, "--help"]).output.split()
        options[command] = sorted({word.strip(",[]") for word in words if word.startswith("--")})
    shared = ["--api-key", "--engine", "--help", "--model-repository", "--second-opinion", "--timeout", "--url"]
    scan_only = [
        *("--deduplicate", "--force", "--in-flight", "--model", "--output", "--patience", "--price", "--ray-address"),
        *("--rows-per-file", "--tries", "--variant", "--workers"),
    ]
    assert options == {
        "scan": sorted([*shared, *scan_only]),
        "predict": sorted([*shared, "--json", "--thumbnails"]),
        "health": ["--api-key", "--help", "--json", "--timeout", "--url"],
    }


def every_command(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from every_command(each, *path, name)


def test_help_lists_what_most_people_look_for_first():
    listed = get_command(build()).list_commands(None)
    assert listed[:3] == ["predict", "scan", "serve"]
    assert listed[-1] == "second-opinion"  # all have a place: whatever has none comes behind it


def test_help_shows_every_name_and_every_command_whole_in_80_columns():
    app, headings = build(), set()
    for path, command in every_command(get_command(app)):
        text = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*path, "--help"]).output
        assert max(map(len, text.splitlines())) <= 80, path
        assert "..." not in text.partition("Commands:")[2], path
        words = {word.strip(",") for word in text.split()}
        named = {name for each in command.params if not each.hidden for name in (*each.opts, *each.secondary_opts)}
        assert {name for name in named if name.startswith("-")} <= words, path
        headings |= {getattr(each, "rich_help_panel", None) for each in command.params} - {None}
        assert all(f"\n{each.rich_help_panel}:\n" in text for each in command.params if each.rich_help_panel), path
    assert headings >= {"A server", "Triton", "Gateway: limits"}


def test_progress_is_lines_where_there_is_no_terminal():
    said = io.StringIO()
    with ScanProgress(Console(file=said, width=40), every=0.0) as progress:
        progress.advance()
        progress.set_total(3)
        progress.trouble(ServiceUnavailableError("away"))
        progress.trouble(ServiceUnavailableError("away"))
        progress.advance()
    first, waiting, last = said.getvalue().splitlines()
    assert first.startswith("1 files done, ")
    assert waiting.endswith("; waiting: [service_unavailable] away")
    assert last.startswith("2 of 3 files done, ")


def test_shell_completion_is_offered():
    assert "--install-completion" in CliRunner(env={"COLUMNS": "200"}).invoke(build([CLIENT]), ["--help"]).output
