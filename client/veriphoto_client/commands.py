"""The client's commands: each parses, asks one function, and prints."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import ServiceError, UsageError
from veriphoto.second_opinion import MODE_VARIABLE, Mode
from veriphoto.variants import AUTO, Variant
from veriphoto_client._sync import Detector
from veriphoto_client._transports import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, DEFAULT_URL
from veriphoto_client.catalogue import CatalogueOptions, scan_catalogue
from veriphoto_client.catalogue.options import DEFAULT_PRICE, DEFAULT_ROWS_PER_FILE, DEFAULT_TRIES
from veriphoto_client.contact_sheet import ContactSheet
from veriphoto_client.engines import REPOSITORY, Engine, EngineOptions, open_engine
from veriphoto_client.inputs import pictures
from veriphoto_client.page.command import page
from veriphoto_client.predict import predict
from veriphoto_client.scan import ScanOptions, ScanReport, scan

EXIT_SOME_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130  # as shells report Ctrl-C

_SERVER: Final = "A server"
_HERE: Final = "This machine, or Ray"
_RAY: Final = "Ray"

EngineChoice = Annotated[
    Engine,
    typer.Option(
        envvar="VERIPHOTO_ENGINE",
        help="auto: a server if one was named or runs on this machine, else local. server: the REST gateway or Triton. "
        "local: this process, without a server. ray: a Ray cluster (scan only).",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="VERIPHOTO_URL",
        rich_help_panel=_SERVER,
        help=f"Address of the REST gateway (http://host:8080, https://host) or of Triton ({DEFAULT_URL} by default, "
        "grpc://host:8001).",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="VERIPHOTO_API_KEY",
        show_envvar=True,
        rich_help_panel=_SERVER,
        help="API key for the gateway. Command lines can be read by others: use the variable.",
    ),
]
Timeout = Annotated[float, typer.Option(envvar="VERIPHOTO_TIMEOUT", help="Seconds that one picture may take.")]
Repository = Annotated[
    Path,
    typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", rich_help_panel=_HERE, help="Directory that holds the models."),
]
SecondOpinion = Annotated[
    Mode,
    typer.Option(
        envvar=MODE_VARIABLE,
        rich_help_panel=_HERE,
        help="When to ask the second opinion: auto where the classifier cannot rule a picture out, always, or off.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
    engine: EngineChoice = Engine.AUTO,
    timeout: Timeout = DEFAULT_TIMEOUT,
    url: Url = None,
    api_key: ApiKey = None,
    in_flight: Annotated[
        int, typer.Option(envvar="VERIPHOTO_IN_FLIGHT", min=1, rich_help_panel=_SERVER, help="Requests at a time.")
    ] = DEFAULT_IN_FLIGHT,
    patience: Annotated[
        float,
        typer.Option(
            envvar="VERIPHOTO_PATIENCE",
            min=0,
            rich_help_panel=_SERVER,
            help="Seconds to wait for a server that is away or overloaded.",
        ),
    ] = 60.0,
    model_repository: Repository = REPOSITORY,
    model: Annotated[
        Path | None,
        typer.Option(
            envvar="VERIPHOTO_MODEL",
            rich_help_panel=_HERE,
            help="The classifier's directory or one of its versions, instead of the newest in the repository.",
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            envvar="VERIPHOTO_VARIANT",
            rich_help_panel=_HERE,
            help="How the version is run; auto by default, as a server here would, and fp32 on Ray.",
        ),
    ] = None,
    second_opinion: SecondOpinion = Mode.AUTO,
    workers: Annotated[
        int | None,
        typer.Option(envvar="VERIPHOTO_WORKERS", min=1, rich_help_panel=_HERE, help="Cores to use; by default all."),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS", rich_help_panel=_RAY, help="Address of the cluster; without it, this machine is one."
        ),
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
        float, typer.Option(envvar="VERIPHOTO_PRICE", min=0, rich_help_panel=_RAY, help="Price of one core-hour.")
    ] = DEFAULT_PRICE,
) -> None:
    """Score folders: one row per picture found.

    Rows hold path, verdict, probability, confidence, model_version, error, size and modified; in the Parquet of
    --engine ray also sha256, model_sha256, retries and duplicate. Run again, a scan scores what is new, has changed or
    failed. Exit code: 0 all scored, 1 some files failed, 2 could not run or had to stop; the same command then goes on
    where it stopped.
    """
    if engine is not Engine.RAY:
        options = ScanOptions(
            paths=[Path(path) for path in paths],
            output=Path(output) if output else None,
            force=force,
            patience=patience,
        )
        asked = EngineOptions(
            engine=engine,
            url=url or None,
            api_key=api_key,
            timeout=timeout,
            in_flight=in_flight,
            patience=0.0,  # the scan has its own, which shows what it waits for
            repository=model_repository,
            model=model,
            variant=variant or AUTO,
            second_opinion=second_opinion,
            workers=workers,
        )
        _scan(options, asked)
        return
    if len(paths) != 1 or output is None:
        raise UsageError("--engine ray takes one source and an --output folder")
    _scan_by_ray(
        CatalogueOptions(
            source=paths[0],
            output=output,
            force=force,
            model=model or model_repository / CLASSIFIER,
            variant=variant or Variant.FP32,
            second_opinion=second_opinion,
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


def _scan(options: ScanOptions, asked: EngineOptions) -> None:
    for path in options.paths:
        if not os.path.lexists(path):
            raise UsageError(f"there is no {path}; give files and folders")
    report = ScanReport()
    console = Console(stderr=True)

    async def work() -> None:
        async with open_engine(asked) as scoring:
            report.engine = scoring.name
            await scan(replace(options, in_flight=scoring.in_flight), scoring.detector, console, report)

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
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURES...",
            help="Files, folders, globs, .csv or .parquet lists with a column path; - reads a picture, or paths, from "
            "standard input.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each picture.")] = False,
    thumbnails: Annotated[
        Path | None,
        typer.Option(help="Write an HTML contact sheet for people: the pictures, the most suspicious first."),
    ] = None,
    engine: EngineChoice = Engine.AUTO,
    timeout: Timeout = DEFAULT_TIMEOUT,
    url: Url = None,
    api_key: ApiKey = None,
    model_repository: Repository = REPOSITORY,
    second_opinion: SecondOpinion = Mode.AUTO,
) -> None:
    """Score photos: one line for each.

    Exit code: 0 all scored, 1 some could not be, 2 could not run, or the only picture could not be scored.
    """
    if engine is Engine.RAY:
        raise UsageError("--engine ray is for veriphoto scan; predict runs on a server or here")
    sheet = ContactSheet(thumbnails) if thumbnails else None
    asked = EngineOptions(
        engine=engine,
        url=url or None,
        api_key=api_key,
        timeout=timeout,
        repository=model_repository,
        second_opinion=second_opinion,
    )

    async def work() -> bool:
        async with open_engine(asked) as scoring:
            found = pictures(files, sys.stdin.buffer)
            counts = await predict(found, scoring, typer.echo, as_json=as_json, sheet=sheet)
        if sheet is not None:
            sheet.write()
        if counts.total() != 1:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            typer.echo(f"{counts.total()} pictures: {kinds or 'none'}; scored by {scoring.name}", err=True)
        return not counts["error"]

    try:
        complete = asyncio.run(work())
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if not complete:
        raise typer.Exit(EXIT_SOME_FAILED)


def health_command(
    url: Url = None, api_key: ApiKey = None, timeout: Timeout = DEFAULT_TIMEOUT, as_json: AsJson = False
) -> None:
    """Ask whether a server scores pictures."""
    with Detector(url or DEFAULT_URL, api_key=api_key, timeout=timeout) as detector:
        health = detector.health()
    if as_json:
        typer.echo(json.dumps(health.to_json(), indent=2))
    else:
        typer.echo(f"{health.url} is healthy: model version {health.model_version}, {health.latency_ms:.0f} ms")


def _how_to_go_on(output: Path | str | None) -> str:
    return f"; run the same command again to go on with {output}" if output else ""
