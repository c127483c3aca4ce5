"""``veriphoto export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veriphoto.errors import MissingExtraError


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
        int | None, typer.Option(min=1, help="Version number to publish as; the next free one by default.")
    ] = None,
    photos: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_SAMPLES", help="Folder of photos that must score as in PyTorch.")
    ] = Path("samples"),
) -> None:
    """Turn a training run into a model version for Triton; refuse what does not score as the network."""
    try:
        from veriphoto_export.pipeline import export_run  # noqa: PLC0415 - a light command line without it

        exported = export_run(run, repository=model_repository, photos=photos, version=version, say=_say)
    except ModuleNotFoundError as error:
        raise MissingExtraError("export", error.name) from error
    parity = exported.parity
    _say(f"largest difference in probability {parity.probability:.1e}, of evidence from logit {parity.evidence:.1e}")
    typer.echo(f"version {exported.version}, {exported.bytes / 1e6:.1f} MB: {exported.directory}")


def _say(line: str) -> None:
    typer.echo(line, err=True)
