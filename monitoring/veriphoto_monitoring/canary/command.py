"""The command ``veriphoto canary``: detects when the model gets worse on pictures with known labels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from veriphoto.errors import MissingExtraError, ServiceError, UsageError
from veriphoto_monitoring.settings import CanarySettings

EXIT_ALARM: Final = 1
INTERRUPTED: Final = 130


def canary(
    directory: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="Folder of ai/GENERATOR/ and real/SOURCE/, or of manifest.csv."
        ),
    ],
    settings: CanarySettings,
) -> None:
    """Score labelled photos and test the rates against a reference.

    Exit code: 0 no group does worse, 1 one does, 2 could not run.

    Options other than --write-reference are also environment variables: --every is VERIPHOTO_CANARY_EVERY, --url and
    --var are VERIPHOTO_TRITON_URL and VERIPHOTO_VAR.
    """
    if settings.write_reference and settings.every:
        raise UsageError("--write-reference needs a single run; leave out --every")
    try:
        from veriphoto_monitoring.canary import results as files  # noqa: PLC0415 - scipy takes a second
        from veriphoto_monitoring.canary.run import run  # noqa: PLC0415
        from veriphoto_monitoring.canary.table import show  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("monitor", error.name) from error
    known = settings.reference or settings.var / files.REFERENCE_FILE
    before = None if settings.write_reference else files.read(known).tallies
    console = Console()

    def one_run() -> bool:
        results = run(directory, settings.url, settings.in_flight, before, settings.level)
        files.write(settings.var / files.RESULTS_FILE, results)
        if settings.textfile is not None:
            files.write_textfile(settings.textfile, settings.var / files.RESULTS_FILE)
        show(console, results, before or ())
        if settings.write_reference:
            files.write_reference(known, results)
            console.print(f"this run is the reference now: {escape(str(known))}", soft_wrap=True)
        return bool(results.alarms)

    try:
        while settings.every:
            try:
                one_run()
            except ServiceError as error:  # an unreachable server costs one run, not the schedule
                console.print(f"[yellow]no run: {escape(error.to_wire())}[/yellow]", soft_wrap=True)
            time.sleep(60.0 * settings.every)
        alarm = one_run()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if alarm:
        raise typer.Exit(EXIT_ALARM)
