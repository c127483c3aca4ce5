"""The commands ``veriphoto monitor`` and ``veriphoto drift``."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from veriphoto.contract import SIDECAR_PORT, TRITON_METRICS_PORT
from veriphoto.errors import MissingExtraError, ServiceUnavailableError, UsageError
from veriphoto.prediction_log.recorder import LOG_VARIABLE
from veriphoto_monitoring.canary.command import INTERRUPTED

EXIT_DRIFT: Final = 1
_LOG_FOLDER: Final = "predictions"

Log = Annotated[
    Path | None,
    typer.Option(
        "--log",
        envvar=LOG_VARIABLE,
        help="Directory of the prediction log; predictions in --var by default.",
    ),
]
Repository = Annotated[
    Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory of the models, for their manifests.")
]
Var = Annotated[Path, typer.Option(envvar="VERIPHOTO_VAR", help="Directory for everything written at run time.")]


def monitor(
    log: Log = None,
    model_repository: Repository = Path("model_repository"),
    var: Var = Path("var"),
    triton_metrics: Annotated[
        str,
        typer.Option(envvar="VERIPHOTO_TRITON_METRICS", help="Metrics URLs of the servers, separated by commas."),
    ] = f"http://127.0.0.1:{TRITON_METRICS_PORT}/metrics",
    images_per_day: Annotated[
        float,
        typer.Option(envvar="VERIPHOTO_IMAGES_PER_DAY", min=1.0, help="Expected traffic; the thresholds depend on it."),
    ] = 10_000.0,
    false_alarms: Annotated[
        float,
        typer.Option(
            envvar="VERIPHOTO_FALSE_ALARMS",
            min=1e-6,
            max=0.5,
            help="Share of unchanged days that may have a false alarm.",
        ),
    ] = 0.01,
    host: Annotated[str, typer.Option(envvar="VERIPHOTO_MONITOR_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(envvar="VERIPHOTO_MONITOR_PORT", min=0, max=65535, help="Port; 0 picks a free one."),
    ] = SIDECAR_PORT,
) -> None:
    """Watch the prediction log and the server's metrics for drift, until Ctrl-C."""
    try:
        from veriphoto_monitoring.service import MonitorOptions, run  # noqa: PLC0415
        from veriphoto_monitoring.stats.budget import Budget  # noqa: PLC0415 - keeps the command line light
    except ImportError as error:
        raise MissingExtraError("monitor", error.name) from error
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = MonitorOptions(
        log=log or var / _LOG_FOLDER,
        model_repository=model_repository,
        var=var,
        tritons=tuple(url.strip() for url in triton_metrics.split(",") if url.strip()),
        budget=Budget(per_day=false_alarms, images_per_day=images_per_day),
        host=host,
        port=port,
    )
    try:
        run(options, ready=lambda address: typer.echo(f"Veriphoto's monitor listens at {address}"))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


drift = typer.Typer(invoke_without_command=True)


@drift.callback()
def show(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="VERIPHOTO_MONITOR_URL", help="Address of the drift monitor.")
    ] = f"http://127.0.0.1:{SIDECAR_PORT}",
    report: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Also write an HTML report with plots to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the monitor's JSON instead of tables.")] = False,
) -> None:
    """Show what the drift monitor reports, or make a baseline.

    Exit code: 0 no drift or not enough data to tell, 1 drift, 2 the monitor could not be reached.
    """
    if context.invoked_subcommand:
        return
    try:
        from veriphoto_monitoring.input.scrape import fetch  # noqa: PLC0415 - keeps the command line light
    except ImportError as error:
        raise MissingExtraError("monitor", error.name) from error
    base = url.rstrip("/")
    text = fetch(f"{base}/drift")
    try:
        status = json.loads(text)
        detected = bool(status["drift_detected"])
    except (ValueError, KeyError, TypeError) as error:
        raise ServiceUnavailableError(f"{base} is not a drift monitor") from error
    if report is not None:
        report.write_text(fetch(f"{base}/report"), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(status, indent=2))
    else:
        _print(Console(), status)
        if report is not None:
            typer.echo(f"report written to {report}")
    if detected:
        raise typer.Exit(EXIT_DRIFT)


@drift.command()
def baseline(
    log: Log = None,
    var: Var = Path("var"),
    last: Annotated[int, typer.Option(min=2000, max=200_000, help="Number of newest pictures to use.")] = 20_000,
    since: Annotated[str | None, typer.Option(help="Ignore older pictures: 2026-11-20 or 2026-11-20T08:00.")] = None,
    until: Annotated[str | None, typer.Option(help="Ignore newer pictures.")] = None,
) -> None:
    """Make a healthy period of the prediction log the reference; a running monitor picks it up by itself."""
    try:
        from veriphoto_monitoring.reference import baseline as making  # noqa: PLC0415 - keeps the command line light
        from veriphoto_monitoring.reference.sources import BASELINE  # noqa: PLC0415 - likewise
        from veriphoto_monitoring.service import DIRECTORY  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("monitor", error.name) from error
    path = var / DIRECTORY / BASELINE
    found = making.make(log or var / _LOG_FOLDER, last, _time(since), _time(until))
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
