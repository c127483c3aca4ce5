"""Runs a training from its options to the calibrated checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from veriphoto.errors import UsageError
from veriphoto.manifest import FINDINGS_FILE
from veriphoto.verdict import OperatingPoint
from veriphoto_training.calibration.fit import FALSE_ALARMS, pictures_needed
from veriphoto_training.data.dataset import read_dataset
from veriphoto_training.data.splits import split_dataset, thinned
from veriphoto_training.network.weights import check_weights, start_of
from veriphoto_training.recipes import Recipe, get_recipe
from veriphoto_training.run.finish import CalibrationSet, write_findings
from veriphoto_training.run.loop import LAST, Job, parts, resumable_run, train
from veriphoto_training.run.progress import Progress
from veriphoto_training.tracking import MlflowTracker, NoTracker, Tracker, environment


def run_training(
    *,
    data: Path,
    recipe_name: str,
    output: Path,
    weights: str,
    teacher: Path | None = None,
    seed: int = 0,
    replica: int = 0,
    epochs: int | None = None,
    resume: bool = False,
    holdout_sources: Sequence[str] = (),
    holdout_generators: Sequence[str] = (),
    product_sources: Sequence[str] = ("*",),
    calibrate_holdout: bool = False,
    changes: Sequence[str] = (),
    max_per_class: int | None = None,
    tracking: bool = True,
    var: Path = Path("var"),
    progress: Progress | None = None,
    stop_after: int | None = None,
) -> Path:
    """Trains from options, as the command line gives them.

    Args:
        data: The data set, in a form that ``read_dataset`` takes.
        recipe_name: Name of a recipe, a key of ``RECIPES``.
        output: Directory of the run's files.
        weights: Weights to start from; see ``load_weights``.
        teacher: Targets of a second opinion; none if None.
        seed: Random seed for training and for the data split.
        replica: Draws other batches from the same split; see ``Job``.
        epochs: Replaces the recipe's number of epochs.
        resume: Continue the unfinished run in ``output``.
        holdout_sources: Names or patterns of sources to keep out of training.
        holdout_generators: Names or patterns of generators to keep out of training.
        product_sources: Patterns of the sources whose real product photos set the threshold.
        calibrate_holdout: Calibrate on the hold-out too.
        changes: ``field=value`` overrides of the recipe, for ablations.
        max_per_class: Train and validate on at most this many pictures of each class.
        tracking: Log to MLflow.
        var: Directory of the default MLflow store.
        progress: Shows progress.
        stop_after: Stop after this many steps, as if killed; for tests.

    Returns:
        The best checkpoint.

    Raises:
        UsageError: If options do not fit together.
        DataError: If the data cannot be used.
    """
    progress = progress or Progress()
    recipe = override(get_recipe(recipe_name), [*changes, *([f"epochs={epochs}"] if epochs else [])])
    run_id = resumable_run(output)
    if run_id and not resume:
        raise UsageError(f"{output / LAST} exists; add --resume to continue that run, or give another --output")
    check_weights(weights)  # before the data, whose reading may take long
    chosen = get_recipe(recipe_name)  # who overrides it to freeze noise means it
    if weights == "none" and (
        (chosen.frozen_stages and recipe.frozen_stages) or (chosen.frozen_norms and recipe.frozen_norms)
    ):
        raise UsageError(
            f"recipe '{recipe.name}' keeps parts of its starting weights, and with --weights none they are noise; "
            "choose --weights lite0, or add --set frozen_stages=0 --set frozen_norms=false"
        )
    progress.note(f"going on with run {run_id} in {output}" if run_id else f"starting from {start_of(weights)}")
    dataset = read_dataset(data)
    for path, reason in list(dataset.broken.items())[:10]:
        progress.note(f"left out {path}: {reason}")
    split = split_dataset(dataset.pictures, recipe.validation_share, holdout_sources, holdout_generators, seed)
    if max_per_class is not None:
        split = thinned(split, max_per_class)
    kept_out = CalibrationSet(
        seen=split.validation,
        unseen=split.holdout if calibrate_holdout else (),
        product_sources=tuple(product_sources),
    )
    kept_out.require_both()
    tracker: Tracker = MlflowTracker(f"{recipe.name}-{output.name}", var, run_id) if tracking else NoTracker(run_id)
    job = Job(
        recipe=recipe,
        split=split,
        fingerprint=dataset.fingerprint,
        output=output,
        weights=weights,
        teacher=teacher,
        seed=seed,
        replica=replica,
        holdout_sources=tuple(holdout_sources),
        holdout_generators=tuple(holdout_generators),
        stop_after=stop_after,
    )
    if not run_id:
        named = {key: str(value)[:450] for key, value in job.metadata(tracker.run_id).items() if key != "recipe"}
        tracker.params({**named, **job.metadata("")["recipe"], **parts(dataset, split), **environment()})
    progress.note(f"{parts(dataset, split)}, run {tracker.run_id}")
    try:
        best = train(job, tracker, progress)
        if stop_after is None:
            _finish(best, kept_out, tracker, progress)
        return best
    finally:
        tracker.close()


def _finish(
    best: Path,
    kept_out: CalibrationSet,
    tracker: Tracker,
    progress: Progress,
) -> None:
    progress.note(f"calibrating on {len(kept_out.pictures)} pictures")
    findings = write_findings(best, kept_out)
    tracker.metrics({f"final_{name}": value for name, value in findings.metrics.items()})
    tracker.artifact(best)
    tracker.artifact(best.parent / FINDINGS_FILE)
    for caution in cautions(findings.operating_point, len(kept_out.for_threshold()[0])):
        progress.note(caution)
    progress.note(f"threshold {findings.operating_point.threshold:.3f}, {findings.metrics}")


def cautions(point: OperatingPoint, photos: int) -> list[str]:
    """Returns what somebody should know before such cuts are served.

    Args:
        point: Threshold and unsure band.
        photos: Number of real product photos that set them.
    """
    found, needed = [], pictures_needed(FALSE_ALARMS["clean"])
    if photos < needed:
        found.append(
            f"the threshold rests on {photos} real product photos, and takes {needed} to hold: once the model is "
            "promoted, fit it to your own with veriphoto calibrate --real DIR, and start the server again"
        )
    if point.unsure_low >= point.unsure_high:
        found.append(
            f"the unsure band is empty, so that no score is unsure: {photos} real product photos are too few for one; "
            "train on more, or keep sources out with --holdout-source and calibrate on them too: --calibrate-holdout"
        )
    return found


def override(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """Changes fields of a recipe.

    Args:
        recipe: The recipe.
        changes: ``field=value`` texts; values are numbers or true/false.

    Returns:
        The changed recipe.

    Raises:
        UsageError: If a text is not of that form, the field is unknown, or the value makes no sense.
    """
    values: dict[str, Any] = {}
    known = {field.name for field in fields(recipe)} - {"name"}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in known:
            raise UsageError(f"'{change}': a recipe has no field '{name}'; it has {', '.join(sorted(known))}")
        kind = type(getattr(recipe, name))
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if type(value) is not kind and (kind, type(value)) != (float, int):
            words = {bool: "true or false", int: "a whole number"}.get(kind, "a number")
            raise UsageError(f"'{change}': {name} is {words}")
        values[name] = value
    try:
        return replace(recipe, **values)
    except ValueError as error:
        raise UsageError(str(error)) from error
