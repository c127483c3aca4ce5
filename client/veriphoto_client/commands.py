"""The client's commands: each parses, asks one function, and prints."""

from __future__ import annotations

import asyncio
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from veriphoto.errors import ServiceError, UsageError
from veriphoto.variants import Variant
from veriphoto_client._async import AsyncDetector
from veriphoto_client._detection import Detection
from veriphoto_client._sync import Detector
from veriphoto_client._transports import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, DEFAULT_URL
from veriphoto_client.catalogue import CatalogueOptions, scan_catalogue
from veriphoto_client.catalogue.options import DEFAULT_PRICE, DEFAULT_ROWS_PER_FILE, DEFAULT_TRIES
from veriphoto_client.page.command import page
from veriphoto_client.scan import ScanOptions, ScanReport, scan

EXIT_SOME_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130  # as shells report Ctrl-C

Url = Annotated[str, typer.Option(envvar="VERIPHOTO_URL", help="Triton: http://host:port or grpc://host:port.")]
Timeout = Annotated[float, typer.Option(envvar="VERIPHOTO_TIMEOUT", help="Seconds that one request may take.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_RAY: Final = "With --engine ray"


class Engine(StrEnum):
    """Who scores what a scan finds."""

    TRITON = "triton"
    RAY = "ray"


def register(app: typer.Typer) -> None:
    """Adds the client's commands to the command line.

    Args:
        app: The ``veriphoto`` command.
    """
    app.command("scan")(scan_command)
    app.command("predict")(predict_command)
    app.command("health")(health_command)
    app.command("page")(page)


def scan_command(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files and folders, walked recursively; with --engine ray one folder, glob, manifest or URI."
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A .csv or .jsonl file, with --engine ray a folder or URI; one that exists is gone on with.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Score all, also files that have not changed since their row was written.")
    ] = False,
    url: Url = DEFAULT_URL,
    timeout: Timeout = DEFAULT_TIMEOUT,
    in_flight: Annotated[
        int, typer.Option(envvar="VERIPHOTO_IN_FLIGHT", min=1, help="Requests at a time.")
    ] = DEFAULT_IN_FLIGHT,
    patience: Annotated[
        float,
        typer.Option(
            envvar="VERIPHOTO_PATIENCE", min=0, help="Seconds to wait for a server that is away or overloaded."
        ),
    ] = 60.0,
    engine: Annotated[
        Engine, typer.Option(envvar="VERIPHOTO_ENGINE", help="triton asks a server; ray scores on a Ray cluster.")
    ] = Engine.TRITON,
    model: Annotated[
        Path,
        typer.Option(
            envvar="VERIPHOTO_MODEL", rich_help_panel=_RAY, help="The classifier's directory, or one of its versions."
        ),
    ] = Path("model_repository/classifier"),
    variant: Annotated[
        str, typer.Option(envvar="VERIPHOTO_VARIANT", rich_help_panel=_RAY, help="How the version is run, or auto.")
    ] = Variant.FP32.value,
    ray_address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", rich_help_panel=_RAY, help="Of a cluster; without it, this machine is one."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(envvar="VERIPHOTO_WORKERS", min=1, rich_help_panel=_RAY, help="Cores to use; by default all."),
    ] = None,
    rows_per_file: Annotated[
        int, typer.Option(envvar="VERIPHOTO_ROWS_PER_FILE", min=1, rich_help_panel=_RAY, help="Rows of a part file.")
    ] = DEFAULT_ROWS_PER_FILE,
    tries: Annotated[
        int, typer.Option(envvar="VERIPHOTO_TRIES", min=1, rich_help_panel=_RAY, help="Attempts to read an object.")
    ] = DEFAULT_TRIES,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", rich_help_panel=_RAY, help="Score equal bytes once.")
    ] = False,
    price: Annotated[
        float, typer.Option(envvar="VERIPHOTO_PRICE", min=0, rich_help_panel=_RAY, help="Of one core-hour.")
    ] = DEFAULT_PRICE,
) -> None:
    """Score folders: one row per picture found.

    Rows hold path, verdict, probability, confidence, model_version, error, size and modified; in the Parquet of
    --engine ray also sha256, model_sha256, retries and duplicate. Run again, a scan scores what is new, has changed or
    failed. Exit code: 0 all scored, 1 some files failed, 2 could not run or had to stop; the same command then goes on
    where it stopped.
    """
    if engine is Engine.TRITON:
        options = ScanOptions(
            paths=[Path(path) for path in paths],
            output=Path(output) if output else None,
            force=force,
            in_flight=in_flight,
            patience=patience,
        )
        _scan_by_triton(options, url, timeout)
        return
    if len(paths) != 1 or output is None:
        raise UsageError("--engine ray takes one source and an --output folder")
    _scan_by_ray(
        CatalogueOptions(
            source=paths[0],
            output=output,
            force=force,
            model=model,
            variant=variant,
            address=ray_address,
            workers=workers,
            rows_per_file=rows_per_file,
            tries=tries,
            deduplicate=deduplicate,
            price=price,
        )
    )


def _scan_by_ray(options: CatalogueOptions) -> None:
    try:
        report = scan_catalogue(options, Console(stderr=True))
    except KeyboardInterrupt:
        typer.echo(f"stopped{_how_to_go_on(options.output)}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    typer.echo(report.summary(), err=True)
    if not report.complete:
        raise typer.Exit(EXIT_SOME_FAILED)


def _scan_by_triton(options: ScanOptions, url: str, timeout: float) -> None:
    for path in options.paths:
        if not os.path.lexists(path):
            raise UsageError(f"there is no {path}; give files and folders")
    report = ScanReport()
    console = Console(stderr=True)

    async def work() -> None:
        async with AsyncDetector(url, timeout=timeout, max_in_flight=options.in_flight) as detector:
            await scan(options, detector, console, report)

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        typer.echo(f"stopped: {report.summary()}{_how_to_go_on(options.output)}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except ServiceError as error:
        if report.seconds:
            typer.echo(f"stopped: {report.summary()}{_how_to_go_on(options.output)}", err=True)
        raise error
    typer.echo(report.summary(), err=True)
    if not report.complete:
        raise typer.Exit(EXIT_SOME_FAILED)


def predict_command(
    file: Annotated[Path, typer.Argument(help="A JPEG, PNG, WebP, HEIC or AVIF file.")],
    url: Url = DEFAULT_URL,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Score one photo."""
    with Detector(url, timeout=timeout) as detector:
        detection = detector.predict(file)
    if as_json:
        _print_json({"path": str(file), **detection.to_json()})
    else:
        typer.echo(_sentence(detection))


def health_command(url: Url = DEFAULT_URL, timeout: Timeout = DEFAULT_TIMEOUT, as_json: AsJson = False) -> None:
    """Ask whether the server scores pictures."""
    with Detector(url, timeout=timeout) as detector:
        health = detector.health()
    if as_json:
        _print_json(health.to_json())
    else:
        typer.echo(f"{url} is healthy: model version {health.model_version}, {health.latency_ms:.0f} ms")


def _sentence(detection: Detection) -> str:
    verdict = detection.verdict
    why = f" ({verdict.reason})" if verdict.reason else ""
    return (
        f"{verdict.verdict}{why}: probability {verdict.probability:.4f} that it is AI-generated, "
        f"{verdict.confidence} confidence, model version {verdict.model_version}"
    )


def _how_to_go_on(output: Path | str | None) -> str:
    return f"; run the same command again to go on with {output}" if output else ""


def _print_json(values: Any) -> None:
    typer.echo(json.dumps(values, indent=2))
