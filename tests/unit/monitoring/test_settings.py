"""Settings of monitor, drift and canary: one field is flag, environment variable and help."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from veriphoto.errors import ServiceUnavailableError, UsageError
from veriphoto_client.commandline.parameters import with_options
from veriphoto_monitoring import cli
from veriphoto_monitoring.settings import BaselineSettings, CanarySettings, DriftSettings, MonitorSettings

KINDS = (MonitorSettings, DriftSettings, BaselineSettings, CanarySettings)


def parsed(kind: type, *arguments: str, **environment: str) -> Any:
    seen = []

    def start(settings: Any) -> None:
        seen.append(settings)

    start.__annotations__["settings"] = kind
    app = typer.Typer()
    app.command()(with_options(start))
    result = CliRunner().invoke(app, list(arguments), env=environment)
    assert result.exit_code == 0, result.output
    return seen[0]


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_the_settings(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VERIPHOTO_VAR", "VERIPHOTO_TRITON_URL", "VERIPHOTO_PREDICTION_LOG"):
        monkeypatch.delenv(name, raising=False)
    assert parsed(kind) == kind()


@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
def test_a_number_is_finite(value: str) -> None:
    app = typer.Typer()
    cli.register(app)
    result = CliRunner().invoke(app, ["monitor", f"--images-per-day={value}"])
    assert result.exit_code == 2
    assert "images-per-day" in result.output


def test_variables_have_the_names_that_deployments_use() -> None:
    environment = {
        "VERIPHOTO_PREDICTION_LOG": "log",
        "VERIPHOTO_FALSE_ALARMS": "0.1",
        "VERIPHOTO_MONITOR_HOST": "0.0.0.0",  # noqa: S104 - nothing listens
        "VERIPHOTO_MONITOR_PORT": "0",
        "VERIPHOTO_TRITON_METRICS": "http://a/metrics, http://b/metrics",
    }
    found = parsed(MonitorSettings, **environment)
    assert (found.predictions, found.false_alarms, found.host, found.port) == (Path("log"), 0.1, "0.0.0.0", 0)  # noqa: S104
    assert found.tritons == ("http://a/metrics", "http://b/metrics")
    assert parsed(MonitorSettings, "--var", "elsewhere").predictions == Path("elsewhere/predictions")
    scheduled = parsed(CanarySettings, VERIPHOTO_CANARY_EVERY="60", VERIPHOTO_CANARY_IN_FLIGHT="2")
    assert (scheduled.every, scheduled.in_flight) == (60.0, 2)
    # The variable of `veriphoto scan` means something else.
    assert parsed(CanarySettings, VERIPHOTO_IN_FLIGHT="32").in_flight == fields(CanarySettings)[-1].default


@pytest.mark.parametrize("url", ["triton:8002/metrics", "https://triton/metrics", "http://triton:port", "http://"])
def test_an_address_that_could_never_be_read_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(UsageError, match="http://host:port"):
        MonitorSettings(triton_metrics=f"http://a/metrics,{url}")


@contextlib.contextmanager
def files_at(folder: Path) -> Iterator[str]:
    """Serves a folder as a monitor that says what its files do."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def drift(*arguments: str, **environment: str) -> Any:
    app = typer.Typer()
    cli.register(app)
    return CliRunner().invoke(app, ["drift", *arguments], env=environment)


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "drift").write_text('{"drift_detected": false}')
    (tmp_path / "report").write_text("<html></html>")
    with files_at(tmp_path) as url:
        result = drift("--url", url, "--report", str(tmp_path))
    assert isinstance(result.exception, UsageError)
    assert str(tmp_path) in result.exception.message


def test_the_monitor_is_found_by_option_and_variable_as_the_server_prints_its_address(tmp_path: Path) -> None:
    (tmp_path / "drift").write_text('{"drift_detected": true}')
    with files_at(tmp_path) as url:
        results = [
            drift("--json", "--url", url),
            drift("--json", "--url", f"{url}/drift"),
            drift("--json", VERIPHOTO_MONITOR_URL=f"{url}/"),
        ]
    assert [(result.exit_code, json.loads(result.stdout)) for result in results] == [(1, {"drift_detected": True})] * 3


def test_a_monitor_of_another_release_is_named(tmp_path: Path) -> None:
    (tmp_path / "drift").write_text('{"drift_detected": true, "status": "drift"}')
    with files_at(tmp_path) as url:
        result = drift("--url", url)
    assert isinstance(result.exception, ServiceUnavailableError)
    assert f"{url} is of another release" in result.exception.message


def test_where_there_is_no_monitor_it_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    with files_at(tmp_path) as url:
        missing = drift("--url", url)
        (tmp_path / "drift").write_text("<html></html>")
        other = drift("--url", url)
        (tmp_path / "drift").write_text("[" * 200_000)
        deep = drift("--url", url)
    away = drift("--url", url)
    for result in (missing, other, deep, away):
        assert isinstance(result.exception, ServiceUnavailableError)
        assert url in result.exception.message
        assert result.exception.message.endswith("with --url or VERIPHOTO_MONITOR_URL")
    for name in ("127.0.0.1:8003", "https://127.0.0.1", "http://127.0.0.1:port"):
        result = drift("--url", name)
        assert isinstance(result.exception, UsageError), name
        assert name in result.exception.message
