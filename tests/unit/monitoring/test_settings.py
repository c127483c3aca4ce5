"""Settings of monitor, drift and canary: one field is flag, environment variable and help."""

from __future__ import annotations

import threading
from dataclasses import fields
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from veriphoto.errors import UsageError
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
    for name in ("VERIPHOTO_VAR", "VERIPHOTO_URL", "VERIPHOTO_PREDICTION_LOG"):
        monkeypatch.delenv(name, raising=False)
    assert parsed(kind) == kind()


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


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "drift").write_text('{"drift_detected": false}')
    (tmp_path / "report").write_text("<html></html>")
    app = typer.Typer()
    cli.register(app)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        result = CliRunner().invoke(app, ["drift", "--url", url, "--report", str(tmp_path)])
        server.shutdown()
    assert isinstance(result.exception, UsageError)
    assert str(tmp_path) in result.exception.message
