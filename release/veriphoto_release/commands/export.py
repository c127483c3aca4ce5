"""``veriphoto export``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veriphoto.errors import MissingExtraError, UsageError
from veriphoto_release.commands.models import Name

if TYPE_CHECKING:
    from veriphoto_export.variants import VariantMeasurement
    from veriphoto_training.data.dataset import Picture


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
    app.command()(export)


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Directory of a training run, or a checkpoint in it; leave out to measure a published version."
        ),
    ] = None,
    model_repository: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory that holds the models.")
    ] = Path("model_repository"),
    version: Annotated[
        int | None, typer.Option(min=1, help="Publish as this version number, without the gate of promotion.")
    ] = None,
    publish: Annotated[
        bool | None,
        typer.Option(help="Publish as well as register, without the gate; by default only if nothing is served yet."),
    ] = None,
    registry: Annotated[
        bool, typer.Option(help="Register in MLflow (MLFLOW_TRACKING_URI, or SQLite under --var) as challenger.")
    ] = True,
    var: Annotated[Path, typer.Option(envvar="VERIPHOTO_VAR", help="Directory of the default MLflow store.")] = Path(
        "var"
    ),
    name: Name = "veriphoto",
    photos: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_SAMPLES", help="Folder of photos to compare the graph with PyTorch on.")
    ] = Path("samples"),
    variants: Annotated[
        bool, typer.Option("--variants", help="Build and measure INT8 and OpenVINO variants too.")
    ] = False,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            envvar="VERIPHOTO_EVALUATION",
            help="Data set to measure --variants on; photos that the run was trained on are left out.",
        ),
    ] = None,
    unseen_by: Annotated[
        Path | None,
        typer.Option(help="For a published version: its training run, whose training photos are left out."),
    ] = None,
    max_per_class: Annotated[
        int, typer.Option(min=2, help="Photos of each class that --variants is measured on.")
    ] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds for each batch size of --variants.")] = 10,
) -> None:
    """Turn a training run into a registered model; refused if the graph does not score as the network does."""
    if variants and evaluation is None:
        raise UsageError("--variants needs pictures to be judged on: --evaluation DIR")
    if variants and run is None:
        _measure_published(model_repository, version, evaluation or Path(), unseen_by, max_per_class, rounds)
        return
    if run is None:
        raise UsageError("name the directory of a training run, or give --variants")
    if unseen_by is not None:
        raise UsageError("--unseen-by goes with a published version; a run's own training pictures are never used")
    if version is not None and publish is False:
        raise UsageError("--version is the number to publish as; leave out --no-publish")
    try:
        from veriphoto_release.pipeline import export_run  # noqa: PLC0415 - a light command line without it
        from veriphoto_release.publish import latest  # noqa: PLC0415
        from veriphoto_release.registry import Registry  # noqa: PLC0415

        first = latest(model_repository) is None
        exported = export_run(
            run,
            repository=model_repository,
            photos=photos,
            version=version,
            registry=Registry(var, name=name) if registry else None,
            serve=version is not None or not registry or (first if publish is None else publish),
            variants=(lambda training: _measuring(evaluation or Path(), training, max_per_class, rounds))
            if variants
            else None,
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


def _measure_published(
    repository: Path, version: int | None, evaluation: Path, unseen_by: Path | None, most: int, rounds: int
) -> None:
    try:
        from veriphoto.contract import CLASSIFIER  # noqa: PLC0415
        from veriphoto.manifest import read_manifest  # noqa: PLC0415
        from veriphoto_release.publish import latest  # noqa: PLC0415
        from veriphoto_training.network.model import CHECKPOINT_FILE, load_checkpoint  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("export", error.name) from error
    number = version or latest(repository)
    if number is None:
        raise UsageError(f"{repository} holds no version to measure; name a training run, or publish one first")
    directory = repository / CLASSIFIER / str(number)
    read_manifest(directory)  # before anything is scored
    training = None
    if unseen_by is not None:
        _, training = load_checkpoint(unseen_by / CHECKPOINT_FILE if unseen_by.is_dir() else unseen_by)
    _measuring(evaluation, training, most, rounds)(directory)


def _measuring(evaluation: Path, training: Mapping[str, Any] | None, most: int, rounds: int) -> Callable[[Path], None]:
    """Reads the pictures; what it returns builds the variants of a directory and prints their rows."""
    from veriphoto_export.variants import build_variants, fastest  # noqa: PLC0415
    from veriphoto_training.data.dataset import read_dataset  # noqa: PLC0415
    from veriphoto_training.data.splits import unseen  # noqa: PLC0415

    data = read_dataset(evaluation)
    if training is None:
        pictures: Sequence[Picture] = data.pictures
        what = f"not said to be kept out of training, {data.fingerprint[:12]}"
    else:
        pictures, what = unseen(data, training)
    _say(f"variants are judged on pictures {what}")

    def measure(directory: Path) -> None:
        rows = build_variants(directory, pictures, most=most, rounds=rounds, evaluation=what, say=_say)
        typer.echo("ms per crop by pictures (b) and cores (c); AUROC and balanced accuracy clean / hard")
        for row in rows:
            typer.echo(_line(row))
        typer.echo(f"fastest accepted here: {fastest(rows)}")

    return measure


def _line(row: VariantMeasurement) -> str:
    times = ", ".join(f"{size} {value:.2f}" for size, value in row.ms_per_crop.items())
    area, accuracy = (" / ".join(f"{v:.4f}" for v in each.values()) for each in (row.auroc, row.balanced_accuracy))
    verdict = "accepted" if row.accepted else f"refused: {row.why_not}"
    return (
        f"{row.variant}: {row.bytes / 1e6:.1f} MB; {times}; {row.speed_up['b1c1']:.2f} times fp32; "
        f"AUROC {area}; balanced accuracy {accuracy}; {verdict}"
    )


def _say(line: str) -> None:
    typer.echo(line, err=True)
