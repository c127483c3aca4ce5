from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from veriphoto.errors import UsageError
from veriphoto_client.commandline.parameters import with_options
from veriphoto_client.page.command import page
from veriphoto_serving.gateway.settings import GatewaySettings


@pytest.fixture
def seen() -> dict[str, Any]:
    return {}


@pytest.fixture
def app(seen: dict[str, Any]) -> typer.Typer:
    def start(settings: GatewaySettings, own: int = 1) -> None:
        seen.update(asdict(settings), own=own)

    app = typer.Typer()
    app.command()(with_options(start, leave_out=["triton_url"]))
    return app


def test_defaults_are_the_settings(app: typer.Typer, seen: dict[str, Any]) -> None:
    assert CliRunner().invoke(app, []).exit_code == 0
    assert seen.pop("own") == 1
    assert GatewaySettings(**seen) == GatewaySettings()


def test_flag_and_variable_bear_the_name_of_the_setting(app: typer.Typer, seen: dict[str, Any]) -> None:
    environment = {"VERIPHOTO_MAX_IN_FLIGHT": "7", "VERIPHOTO_ALLOW_ANONYMOUS": "1", "VERIPHOTO_API_KEYS": "a=b"}
    arguments = ["--gateway-port", "0", "--drain", "0.5", "--own", "3"]
    assert CliRunner().invoke(app, arguments, env=environment).exit_code == 0
    assert (seen["max_in_flight"], seen["allow_anonymous"], seen["api_keys"]) == (7, True, "a=b")
    assert (seen["gateway_port"], seen["drain"], seen["own"]) == (0, 0.5, 3)


def test_every_setting_but_what_the_command_decides_is_an_option(app: typer.Typer) -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for each in fields(GatewaySettings):
        assert (f"--{each.name.replace('_', '-')} " in text) is (each.name != "triton_url")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("gateway_port", 99_999), ("gateway_port", -1), ("shadow_share", 10.0), ("shadow_share", -0.1), ("drain", -1.0)],
)
def test_numbers_out_of_bounds_are_refused_by_option_and_setting(app: typer.Typer, setting: str, value: float) -> None:
    option = f"--{setting.replace('_', '-')}"
    result = CliRunner().invoke(app, [option, str(value)])
    assert (result.exit_code, option in result.output) == (2, True)
    with pytest.raises(UsageError, match=option):
        GatewaySettings(**{setting: value})


def test_a_port_that_there_is_not_is_no_port_of_the_page() -> None:
    app = typer.Typer()
    app.command()(page)
    result = CliRunner().invoke(app, ["--page-port", "99999"])  # getaddrinfo would take it for 34463
    assert (result.exit_code, "--page-port" in result.output) == (2, True)


@pytest.mark.parametrize("module", ["streamlit", "sqlalchemy"])
def test_a_page_that_cannot_be_served_is_told_before_anything_is_started(module: str, tmp_path: Path) -> None:
    program = f"import sys; sys.modules[{module!r}] = None; from veriphoto_client.cli import main; main()"
    arguments = ["serve", "--page", "--review", "--no-samples", "--var", str(tmp_path / "var")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert f"'{module}' is not installed" in done.stderr
    assert "Triton" not in done.stdout + done.stderr
    assert not (tmp_path / "var").exists()
