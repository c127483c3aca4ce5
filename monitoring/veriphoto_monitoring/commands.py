"""The commands ``veriphoto monitor`` and ``veriphoto drift``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from veriphoto.errors import MissingExtraError, ServiceUnavailableError, UsageError
from veriphoto.foreign_json import parse
from veriphoto.shared_names import MONITOR_FOLDER
from veriphoto.telemetry import logs
from veriphoto_client.commandline.parameters import with_options
from veriphoto_monitoring.canary.command import INTERRUPTED
from veriphoto_monitoring.settings import BaselineSettings, DriftSettings, MonitorSettings

EXIT_DRIFT: Final = 1
_STRANGE: Final = (ValueError, KeyError, TypeError, AttributeError)
"""What reading the report of something else raises."""
_NO_MONITOR: Final = (
    "start one with: veriphoto monitor (veriphoto serve does, too), or name the address that it printed with --url or "
    "VERIPHOTO_MONITOR_URL"
)


def register(app: typer.Typer) -> None:
    """Adds the commands.

    Args:
        app: The command line to add to.
    """
    app.command("monitor")(with_options(monitor))
    drift = typer.Typer(invoke_without_command=True)
    drift.callback()(with_options(show))
    drift.command("baseline")(with_options(baseline))
    app.add_typer(drift, name="drift")


def monitor(settings: MonitorSettings) -> None:
    """Watch the prediction log and the server's metrics for drift, until Ctrl-C.

    Every option is also an environment variable: --var is VERIPHOTO_VAR, --log is VERIPHOTO_PREDICTION_LOG, --host and
    --port are VERIPHOTO_MONITOR_HOST and VERIPHOTO_MONITOR_PORT.
    """
    try:
        from veriphoto_monitoring.service import run  # noqa: PLC0415 - keeps the command line light
    except ImportError as error:
        raise MissingExtraError("monitor", error.name) from error
    logs.configure("monitor")
    try:
        run(settings, ready=lambda address: typer.echo(f"Veriphoto's monitor listens at {address}"))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def show(
    context: typer.Context,
    settings: DriftSettings,
    as_json: Annotated[bool, typer.Option("--json", help="Print the monitor's JSON instead of tables.")] = False,
) -> None:
    """Show what the drift monitor reports, or make a baseline.

    Exit code: 0 no drift or not enough data to tell, 1 drift, 2 the monitor could not be reached.

    --url is also the environment variable VERIPHOTO_MONITOR_URL.
    """
    if context.invoked_subcommand:
        return
    try:
        from veriphoto_monitoring.input.scrape import fetch  # noqa: PLC0415 - keeps the command line light
    except ImportError as error:
        raise MissingExtraError("monitor", error.name) from error
    base = settings.url.rstrip("/").removesuffix("/drift")  # so `veriphoto serve` prints it, and --sidecar-url takes it
    try:
        status = parse(fetch(f"{base}/drift"))
        detected = bool(status["drift_detected"])
    except ServiceUnavailableError as error:
        raise ServiceUnavailableError(f"{error.message}; {_NO_MONITOR}") from error
    except _STRANGE as error:
        raise ServiceUnavailableError(f"what answers at {base} is not a drift monitor; {_NO_MONITOR}") from error
    if settings.report is not None:
        page = fetch(f"{base}/report")
        try:
            settings.report.write_text(page, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{settings.report} cannot be written: {error.strerror}; name another file") from error
    if as_json:
        typer.echo(json.dumps(status, indent=2))
    else:
        _show_tables(status, base)
        if settings.report is not None:
            typer.echo(f"report written to {settings.report}")
    if detected:
        raise typer.Exit(EXIT_DRIFT)


def baseline(settings: BaselineSettings) -> None:
    """Make a healthy period of the prediction log the reference; a running monitor picks it up by itself.

    --log and --var are also the environment variables VERIPHOTO_PREDICTION_LOG and VERIPHOTO_VAR.
    """
    try:
        from veriphoto_monitoring.reference import baseline as making  # noqa: PLC0415 - keeps the command line light
        from veriphoto_monitoring.reference.sources import BASELINE  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise MissingExtraError("monitor", error.name) from error
    path = settings.var / MONITOR_FOLDER / BASELINE
    found = making.make(settings.predictions, settings.last, _time(settings.since), _time(settings.until))
    making.write(path, found)
    typer.echo(f"{found.images} pictures of model version {found.model_version} are the reference now: {path}")
    for name, one in found.distributions.items():
        if one.inflation > 1.0:
            typer.echo(f"{name} comes in series: its threshold is raised {one.inflation:.1f} times")


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a time such as 2026-11-20T08:00") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _show_tables(status: dict[str, Any], base: str) -> None:
    try:
        _print(Console(), status)
    except _STRANGE as error:
        raise ServiceUnavailableError(f"the monitor at {base} is of another release; start this one's") from error


def _print(console: Console, status: dict[str, Any]) -> None:
    from veriphoto_monitoring.report.status import watcher  # noqa: PLC0415 - keeps the command line light

    reference = status["reference"] or {"origin": "none", "images": 0}
    console.print(
        f"status [bold]{escape(status['status'])}[/bold], model version {status['model_version']}, watched by its "
        f"{escape(watcher(status))}, reference: {reference['origin']} ({reference['images']} pictures)",
        soft_wrap=True,
    )
    if caveat := reference.get("caveat"):
        console.print(caveat, soft_wrap=True)
    for window in status["windows"]:
        console.print(_table(window) if window["statistics"] else f"{window['window']} pictures: not enough data")
    for one in status["alerts"]:
        console.print(f"[red]{escape(one['message'])}[/red]", soft_wrap=True)
        if one["request_ids"]:
            console.print(f"  look at: {escape(', '.join(one['request_ids']))}", soft_wrap=True)
    if estimate := status["estimate"]:
        figures = ((name, estimate[name]) for name in ("accuracy", "precision", "recall"))
        known = ", ".join(f"{name} {value:.3f}" for name, value in figures if value is not None)
        console.print(f"estimated {known}. {escape(estimate['assumption'])}", soft_wrap=True)
    if reviewed := status.get("review"):
        from veriphoto_monitoring.report.review import review_sentence  # noqa: PLC0415 - a light command line without it

        console.print(review_sentence(reviewed), soft_wrap=True)


def _table(window: dict[str, Any]) -> Table:
    table = Table(
        title=f"{window['window']} pictures (now {window['images']})",
        title_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
    )
    for name in ("statistic", "direction"):
        table.add_column(name)
    for name in ("value", "threshold", "p-value"):
        table.add_column(name, justify="right")
    table.add_column("alarm since")
    for one in window["statistics"]:
        figures = [f"{one[key]:.4g}" for key in ("value", "threshold", "p_value")]
        style = "bold red" if one["alarm"] else ""
        table.add_row(one["statistic"], one["direction"], *figures, (one["since"] or "")[:16], style=style)
    return table
