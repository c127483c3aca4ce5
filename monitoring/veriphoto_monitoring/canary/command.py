"""The command ``veriphoto canary``: detects when the model gets worse on pictures with known labels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from veriphoto.errors import MissingExtraError, ServiceError, UsageError

EXIT_ALARM: Final = 1
INTERRUPTED: Final = 130
LEVEL: Final = 0.01


def canary(
    directory: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="Folder of ai/GENERATOR/ and real/SOURCE/, or of manifest.csv."
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(
            envvar="VERIPHOTO_CANARY_REFERENCE",
            help="Results to compare with; canary_reference.json in --var by default.",
        ),
    ] = None,
    write_reference: Annotated[
        bool, typer.Option("--write-reference", help="Make this run the reference instead of testing it.")
    ] = False,
    level: Annotated[
        float, typer.Option(min=1e-9, max=0.5, help="Probability of a false alarm in one run, over all groups.")
    ] = LEVEL,
    every: Annotated[float, typer.Option(min=0.0, help="Minutes between runs; 0 runs once.")] = 0.0,
    textfile: Annotated[
        Path | None,
        typer.Option(help="Also write metrics to NAME.prom for node exporter's textfile collector."),
    ] = None,
    url: Annotated[
        str, typer.Option(envvar="VERIPHOTO_URL", help="Triton's address: http://host:port or grpc://host:port.")
    ] = "http://127.0.0.1:8000",
    in_flight: Annotated[
        int,
        typer.Option(min=1, help="Requests at a time; keep it low to leave capacity for users."),
    ] = 4,
    var: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_VAR", help="Directory for everything written at run time.")
    ] = Path("var"),
) -> None:
    """Score labelled photos and test the rates against a reference.

    Exit code: 0 no group does worse, 1 one does, 2 could not run.
    """
    if write_reference and every:
        raise UsageError("--write-reference needs a single run; leave out --every")
    try:
        from veriphoto_monitoring.canary import results as files  # noqa: PLC0415 - scipy takes a second
        from veriphoto_monitoring.canary.run import run  # noqa: PLC0415
        from veriphoto_monitoring.canary.table import show  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("monitor", error.name) from error
    known = reference or var / files.REFERENCE_FILE
    before = None if write_reference else files.read(known).tallies
    console = Console()

    def one_run() -> bool:
        results = run(directory, url, in_flight, before, level)
        files.write(var / files.RESULTS_FILE, results)
        if textfile is not None:
            files.write_textfile(textfile, var / files.RESULTS_FILE)
        show(console, results)
        if write_reference:
            files.write(known, results)
            console.print(f"this run is the reference now: {escape(str(known))}", soft_wrap=True)
        return bool(results.alarms)

    try:
        while every:
            try:
                one_run()
            except ServiceError as error:  # an unreachable server costs one run, not the schedule
                console.print(f"[yellow]no run: {escape(error.to_wire())}[/yellow]", soft_wrap=True)
            time.sleep(60.0 * every)
        alarm = one_run()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if alarm:
        raise typer.Exit(EXIT_ALARM)
