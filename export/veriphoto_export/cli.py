"""``veriphoto export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veriphoto.errors import MissingExtraError, UsageError


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
    app.command()(export)


def export(
    run: Annotated[Path, typer.Argument(help="Directory of a training run, or a checkpoint in it.")],
    model_repository: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory that holds the models.")
    ] = Path("model_repository"),
    version: Annotated[
        int | None, typer.Option(min=1, help="Publish as this version number, without the gate of promotion.")
    ] = None,
    publish: Annotated[
        bool | None,
        typer.Option(
            help="Publish as well as register, without the gate; by default only where nothing is served yet."
        ),
    ] = None,
    registry: Annotated[
        bool, typer.Option(help="Register in MLflow (MLFLOW_TRACKING_URI, or SQLite under --var) as challenger.")
    ] = True,
    var: Annotated[Path, typer.Option(envvar="VERIPHOTO_VAR", help="Directory of the default MLflow store.")] = Path(
        "var"
    ),
    name: Annotated[
        str, typer.Option(envvar="VERIPHOTO_MODEL_NAME", help="Name in the registry; one for each model repository.")
    ] = "veriphoto",
    photos: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_SAMPLES", help="Folder of photos that must score as in PyTorch.")
    ] = Path("samples"),
) -> None:
    """Turn a training run into a registered model; refuse what does not score as the network."""
    if version is not None and publish is False:
        raise UsageError("--version is the number to publish as; leave out --no-publish")
    try:
        from veriphoto_export.pipeline import export_run  # noqa: PLC0415 - a light command line without it
        from veriphoto_export.publish import latest  # noqa: PLC0415
        from veriphoto_export.registry import Registry  # noqa: PLC0415

        first = latest(model_repository) is None
        exported = export_run(
            run,
            repository=model_repository,
            photos=photos,
            version=version,
            registry=Registry(var, name=name) if registry else None,
            serve=version is not None or not registry or (first if publish is None else publish),
            say=_say,
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("export", error.name) from error
    parity = exported.parity
    _say(f"largest difference in probability {parity.probability:.1e}, of evidence from logit {parity.evidence:.1e}")
    size = f"{exported.bytes / 1e6:.1f} MB"
    if exported.directory is not None:
        typer.echo(f"version {exported.version}, {size}: {exported.directory}")
        return
    typer.echo(f"model {exported.model}, {size}, is challenger")
    _say(f"put it into production with: veriphoto models promote {exported.model} --evaluation DIR")


def _say(line: str) -> None:
    typer.echo(line, err=True)
