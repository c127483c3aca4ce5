"""The command ``veriphoto second-opinion``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veriphoto.errors import MissingExtraError, UsageError
from veriphoto_release.commands.models import Name


def register(app: typer.Typer) -> None:
    """Adds this module's command.

    Args:
        app: The command line to add to.
    """
    app.command(name="second-opinion")(second_opinion)


def second_opinion(
    data: Annotated[list[Path], typer.Argument(help="Data sets: folders with manifest.csv or with real/ and ai/.")],
    product_source: Annotated[list[str], typer.Option(help="Source of product photos, or a pattern; may be repeated.")],
    learned_source: Annotated[
        list[str] | None,
        typer.Option(help="Source that the classifier was trained on, or a pattern; may be repeated."),
    ] = None,
    model_repository: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory that holds the models.")
    ] = Path("model_repository"),
    version: Annotated[int | None, typer.Option(min=1, help="Version to start from; the newest by default.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model of the registry, by number or alias, to start from; the result is the challenger."),
    ] = None,
    var: Annotated[Path, typer.Option(envvar="VERIPHOTO_VAR", help="Directory of the default MLflow store.")] = Path(
        "var"
    ),
    name: Name = "veriphoto",
    cache: Annotated[Path, typer.Option(help="Directory that keeps features between runs.")] = Path(
        "var/second-opinion"
    ),
) -> None:
    """Fit the second opinion of a version, and publish both as a new version; run `make encoder` first.

    With --model both become a model of the registry, to be promoted: veriphoto models promote.
    """
    if model is not None and version is not None:
        raise UsageError("--version starts from a published version, --model from a registered model; give one of them")
    try:
        from rich.progress import track  # noqa: PLC0415 - a light command line without these

        from veriphoto_release.opinion import add_opinion  # noqa: PLC0415
        from veriphoto_release.registry import Registry  # noqa: PLC0415
        from veriphoto_training.opinion.fit import Roles  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("export", error.name) from error
    fitted, written = add_opinion(
        data,
        Roles(product=product_source, learned=learned_source or []),
        repository=model_repository,
        cache=cache,
        version=version,
        model=model or "",
        registry=None if model is None else Registry(var, name=name),
        track=lambda pictures: track(pictures, description="scoring"),
    )
    typer.echo(f"{fitted.pictures} pictures; on sources left out of the fit:")
    for figure, value in fitted.opinion.metrics.items():
        typer.echo(f"  {figure:32} {value:.3f}")
    typer.echo(written)
