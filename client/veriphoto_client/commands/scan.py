"""The command ``veriphoto scan``: folders through a server or on this machine, catalogues on a Ray cluster."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import ServiceError, UsageError
from veriphoto.variants import Variant
from veriphoto_client.catalogue import CatalogueOptions, scan_catalogue
from veriphoto_client.commands.engines import Engine, EngineOptions, open_engine
from veriphoto_client.commands.exits import INTERRUPTED, SOME_FAILED
from veriphoto_client.scan import ScanOptions, ScanReport
from veriphoto_client.scan import scan as scan_folders

_HOW_TO_CONTINUE: Final = "run the same command again to go on with"


def scan(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files and folders, walked recursively; with --engine ray one folder, glob, manifest or URI."
        ),
    ],
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A .csv or .jsonl file, with --engine ray a folder or URI. An existing output is continued.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Score all files, also those that have not changed since the last scan.")
    ] = False,
    engine: EngineOptions,
    options: ScanOptions,
    ray: CatalogueOptions,
) -> None:
    """Score folders of photos and write one row per photo.

    Rows hold path, verdict, probability, confidence, model_version, error, size and modified; the Parquet files of
    --engine ray also hold sha256, model_sha256, retries and duplicate. Running the same command again continues where
    it stopped, and scores only photos that are new, have changed or failed before.

    Exit code: 0 all scored, 1 some files failed, 2 could not run or had to stop.

    Options other than --output and --force are also environment variables: --timeout is VERIPHOTO_TIMEOUT; the one
    exception is RAY_ADDRESS.
    """
    if engine.engine is not Engine.RAY:
        chosen = replace(
            options, paths=[Path(path) for path in paths], output=Path(output) if output else None, force=force
        )
        # The scan itself waits for a server, and shows what it is waiting for.
        _scan_folders(chosen, replace(engine, patience=0.0))
        return
    if len(paths) != 1 or output is None:
        raise UsageError("--engine ray takes one source and an --output folder")
    _scan_by_ray(
        replace(
            ray,
            source=paths[0],
            output=output,
            force=force,
            model=engine.model or engine.model_repository / CLASSIFIER,
            variant=engine.variant or Variant.FP32,
            second_opinion=engine.second_opinion,
            workers=engine.workers,
        )
    )


def _scan_by_ray(options: CatalogueOptions) -> None:
    try:
        report = scan_catalogue(options, Console(stderr=True))
    except KeyboardInterrupt:
        typer.echo(f"stopped; {_HOW_TO_CONTINUE} {options.output}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(report.summary(options.output), err=True)
    if not report.complete:
        raise typer.Exit(SOME_FAILED)


def _scan_folders(options: ScanOptions, engine: EngineOptions) -> None:
    for path in options.paths:
        if not os.path.lexists(path):
            raise UsageError(f"there is no {path}; give files and folders")
    report = ScanReport()
    console = Console(stderr=True)

    async def work() -> None:
        async with open_engine(engine) as scoring:
            report.engine = scoring.name
            await scan_folders(replace(options, in_flight=scoring.in_flight), scoring.detector, console, report)

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        _tell_stopped(report, options.output)
        raise typer.Exit(INTERRUPTED) from None
    except ServiceError as error:
        if report.seconds:
            _tell_stopped(report, options.output)
        raise error
    typer.echo(report.summary(options.output), err=True)
    if not report.complete:
        raise typer.Exit(SOME_FAILED)


def _tell_stopped(report: ScanReport, output: Path | None) -> None:
    typer.echo(f"stopped: {report.summary(output)}", err=True)
    if output:
        typer.echo(f"{_HOW_TO_CONTINUE} {output}", err=True)
