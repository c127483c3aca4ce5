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
    run: Annotated[
        Path | None, typer.Argument(help="Directory of a training run, or a checkpoint in it; none with --variants.")
    ] = None,
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
    variants: Annotated[
        bool, typer.Option("--variants", help="Build and measure INT8 and OpenVINO variants of a published version.")
    ] = False,
    evaluation: Annotated[
        Path | None,
        typer.Option(envvar="VERIPHOTO_EVALUATION", help="Pictures of both classes that --variants is judged on."),
    ] = None,
    max_per_class: Annotated[int, typer.Option(min=2, help="Pictures a class that --variants is judged on.")] = 200,
) -> None:
    """Turn a training run into a registered model; refuse what does not score as the network."""
    if variants:
        _variants(run, model_repository, version, evaluation, max_per_class)
        return
    if run is None:
        raise UsageError("name the directory of a training run, or give --variants")
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


def _variants(run: Path | None, repository: Path, version: int | None, evaluation: Path | None, most: int) -> None:
    if run is not None or evaluation is None:
        raise UsageError("--variants works on a published version: leave out the run, and name --evaluation DIR")
    try:
        from veriphoto_export.variants import build_variants, fastest  # noqa: PLC0415
        from veriphoto_training.data import read_dataset  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("export", error.name) from error
    rows = build_variants(repository, read_dataset(evaluation), version=version, pictures=most, say=_say)
    typer.echo("ms per crop by pictures (b) and cores (c); AUROC and balanced accuracy clean / hard")
    for row in rows:
        times = ", ".join(f"{size} {value:.2f}" for size, value in row.ms_per_crop.items())
        area, accuracy = (" / ".join(f"{v:.4f}" for v in each.values()) for each in (row.auroc, row.balanced_accuracy))
        verdict = "accepted" if row.accepted else f"refused: {row.why_not}"
        typer.echo(
            f"{row.variant}: {row.bytes / 1e6:.1f} MB; {times}; {row.speed_up['b1c1']:.2f} times fp32; "
            f"AUROC {area}; balanced accuracy {accuracy}; {verdict}"
        )
    typer.echo(f"fastest accepted here: {fastest(rows)}")


def _say(line: str) -> None:
    typer.echo(line, err=True)
