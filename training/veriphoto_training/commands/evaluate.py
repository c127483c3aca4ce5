"""The command ``veriphoto evaluate``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from veriphoto.errors import MissingExtraError, UsageError


class Part(StrEnum):
    """Which pictures of the data set."""

    ALL = "all"
    VALIDATION = "validation"
    HOLDOUT = "holdout"


def register(app: typer.Typer) -> None:
    """Adds this module's command.

    Args:
        app: The command line to add to.
    """
    app.command()(evaluate)


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            help="Model: a run's best.pt, a version's folder, or the classifier's folder for its newest version."
        ),
    ],
    data: Annotated[Path, typer.Argument(help="Data set: a folder with manifest.csv or with real/ and ai/, or a zip.")],
    output: Annotated[Path, typer.Option(help="Folder for evaluation.html and evaluation.json.")] = Path(
        "var/evaluation"
    ),
    part: Annotated[
        Part, typer.Option(help="Part to evaluate on; with a checkpoint, also what its run kept out of training.")
    ] = Part.ALL,
    product_source: Annotated[
        list[str] | None,
        typer.Option(help="Source of real product photos, or a pattern; may be repeated. All by default."),
    ] = None,
    max_per_class: Annotated[
        int | None, typer.Option(min=1, help="Use at most this many photos of each class.")
    ] = None,
    evidence_trials: Annotated[
        int, typer.Option(min=0, help="Check the evidence map, too, on so many pasted regions; 200 tell enough.")
    ] = 0,
    tracking: Annotated[bool, typer.Option(help="Log to MLflow.")] = True,
    var: Annotated[Path, typer.Option(envvar="VERIPHOTO_VAR", help="Directory of the default MLflow store.")] = Path(
        "var"
    ),
) -> None:
    """Measure a model in three deliveries at its threshold, and write a report."""
    try:
        from rich.progress import track  # noqa: PLC0415 - a light command line without these

        from veriphoto_training.evaluation.evaluate import HTML_FILE, EvaluationOptions, choose_part, run_evaluation  # noqa: PLC0415
        from veriphoto_training.tracking import MlflowTracker, NoTracker, Tracker  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", error.name) from error
    scorer, training = _load(model)
    options = EvaluationOptions(
        root=data,
        choose=choose_part(part.value, training),
        part=part.value,
        product_sources=tuple(product_source or ("*",)),
        max_per_class=max_per_class,
        evidence_trials=evidence_trials,
    )
    tracker: Tracker = MlflowTracker(f"evaluate-{data.name}", var) if tracking else NoTracker()
    try:
        found = run_evaluation(
            scorer, options, output, tracker, _say, lambda chosen: track(chosen, description="scoring"), _show
        )
    finally:
        tracker.close()
    if found.evidence:
        typer.echo(f"evidence in the pasted region: {found.evidence.rate}, control {found.evidence.control}")
    typer.echo(f"report: {output / HTML_FILE}")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _show(name: str, delivery: Any) -> None:
    typer.echo(f"{name}: " + ", ".join(f"{figure} {value}" for figure, value in delivery.figures.items()))


def _load(model: Path) -> tuple[Any, dict[str, Any]]:
    from veriphoto_training.scoring.scorers import CheckpointScorer, OnnxScorer  # noqa: PLC0415 - heavy

    if model.is_dir():
        return OnnxScorer(model), {}
    if not model.is_file():
        raise UsageError(f"{model} is missing; name a checkpoint or a version's folder")
    scorer = CheckpointScorer(model)
    return scorer, scorer.training
