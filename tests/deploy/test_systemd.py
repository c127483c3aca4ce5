"""The units are what systemd takes, locked down, and speak of commands and variables that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer
from deployment import ROOT, VARIABLE, known_variables, needs

from veriphoto_client.commandline.app import build
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.options import TritonOptions

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
COMMAND = re.compile(r"^ExecStart=(/opt/veriphoto/bin/veriphoto) (\S+)", re.M)
# How exposed systemd finds a unit, 0 to 10; it calls more than 5 medium and more than 7 unsafe.
MOST_EXPOSED = 2.0


def installed(unit: Path, folder: Path) -> Path:
    """A copy whose program exists, as systemd-analyze wants it."""
    copy = folder / unit.name
    copy.write_text(unit.read_text("utf-8").replace("/opt/veriphoto/bin/veriphoto", "/bin/true"))
    return copy


@pytest.fixture(params=UNITS, ids=lambda unit: unit.stem)
def unit(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_there_are_units_for_the_server_the_page_and_the_monitor() -> None:
    assert {unit.stem for unit in UNITS} == {"veriphoto", "veriphoto-monitor", "veriphoto-page"}


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    copies = [str(installed(unit, tmp_path)) for unit in UNITS]
    done = subprocess.run(
        [needs("systemd-analyze"), "verify", *copies], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_notices_what_is_wrong(tmp_path: Path) -> None:
    copy = installed(ROOT / "deploy" / "systemd" / "veriphoto.service", tmp_path)
    copy.write_text(copy.read_text("utf-8").replace("Restart=on-failure", "Restart=on-fialure"))
    done = subprocess.run(
        [needs("systemd-analyze"), "verify", copy], capture_output=True, text=True, timeout=60, check=False
    )
    assert "on-fialure" in done.stderr


def test_units_expose_little(unit: Path, tmp_path: Path) -> None:
    command = [needs("systemd-analyze"), "security", "--offline=true", "--no-pager", installed(unit, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    if level is None:
        pytest.skip("this systemd-analyze cannot judge units that are not installed")
    assert float(level[1]) <= MOST_EXPOSED


def test_units_start_commands_that_exist(unit: Path) -> None:
    found = COMMAND.search(unit.read_text("utf-8"))
    assert found
    commands = typer.main.get_group(build()).list_commands(None)  # type: ignore[arg-type]
    assert found[2] in commands


def test_names_of_variables_are_the_codes(unit: Path) -> None:
    assert set(VARIABLE.findall(unit.read_text("utf-8"))) <= known_variables() | {"VERIPHOTO_API_KEYS_FILE"}


def test_the_server_may_finish_what_it_has() -> None:
    text = (ROOT / "deploy" / "systemd" / "veriphoto.service").read_text("utf-8")
    limit = int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)[1])  # type: ignore[index]
    settings = GatewaySettings()
    exit_s = TritonOptions.__dataclass_fields__["exit_timeout_s"].default
    assert limit > settings.drain + settings.request_timeout + settings.upload_timeout + exit_s
    assert "KillMode=mixed" in text


def test_one_unit_alone_runs_the_drift_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "deploy" / "systemd" / "veriphoto.service").read_text("utf-8")
    for name, value in re.findall(r"^Environment=(\w+)=(\S+)$", text, re.M):
        monkeypatch.setenv(name, value)
    command = typer.main.get_group(build()).commands["serve"]
    with command.make_context("serve", ["--no-samples"]) as context:
        assert context.params["no_monitor"] is True
