"""An evaluation from end to end: scores, figures, page, JSON and MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from veriphoto.decoding import decode
from veriphoto.errors import DataError, UsageError
from veriphoto.manifest import sha256_file
from veriphoto.preprocessing import preprocess
from veriphoto_training.data.dataset import LABELS, Dataset, Picture, read_dataset, thin
from veriphoto_training.data.splits import SplitRecord
from veriphoto_training.evaluation import plots
from veriphoto_training.evaluation.evidence_check import EvidenceCheck, check_evidence
from veriphoto_training.evaluation.pages import data_uri, picture_uri, render
from veriphoto_training.evaluation.report import Delivery, Evaluation, Mistake, measure, tabulate, worst_mistakes
from veriphoto_training.scoring import metrics
from veriphoto_training.scoring.deliveries import DELIVERIES, deliver
from veriphoto_training.scoring.logits import Scores, Track, score_pictures
from veriphoto_training.scoring.scorers import Scorer
from veriphoto_training.tracking import Tracker, environment

HTML_FILE: Final = "evaluation.html"
JSON_FILE: Final = "evaluation.json"
MISTAKES: Final = 24
"""Mistakes of each class on the contact sheet."""
_TITLES: Final = {
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
    "tpr": "AI found",
    "fpr": "false alarms",
    "fpr_product": "false alarms on product photos",
    "red_flags_product": "red flags on product photos",
    "tpr_at_1%_fpr": "TPR at 1 % FPR",
    "tpr_at_2%_fpr": "TPR at 2 % FPR",
    "tpr_at_2%_product_fpr": "TPR at 2 % product FPR",
    "ece": "ECE",
}


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What to evaluate."""

    root: Path
    choose: Callable[[Dataset], Sequence[Picture]] = lambda data: data.pictures
    """Picks the part to evaluate on."""
    part: str = "all"
    product_sources: tuple[str, ...] = ("*",)
    max_per_class: int | None = None
    evidence_trials: int = 0
    """Pastes of each kind in the evidence check; 0 leaves it out."""


def run_evaluation(
    scorer: Scorer,
    options: EvaluationOptions,
    output: Path,
    tracker: Tracker,
    say: Callable[[str], None],
    track: Track = lambda pictures: pictures,
    show: Callable[[str, Delivery], None] | None = None,
) -> Evaluation:
    """Evaluates a model and writes the report.

    Args:
        scorer: The model.
        options: Data set, part and sizes.
        output: Directory of the page and the JSON; made if it is missing.
        tracker: Records parameters, figures, report and model.
        say: Called with a line of progress.
        track: Shows progress.
        show: Called with each delivery's name and figures as soon as it is scored.

    Returns:
        The evaluation.

    Raises:
        DataError: If the data cannot be read or the part lacks a class.
    """
    data = read_dataset(options.root)
    pictures = list(options.choose(data))
    if options.max_per_class is not None:
        pictures = thin(pictures, options.max_per_class)
    _check_classes(pictures, options.part)
    scores: dict[str, Scores] = {}
    deliveries: dict[str, Delivery] = {}
    for name in DELIVERIES:
        say(f"scoring {len(pictures)} pictures, {name}")
        scores[name] = score_pictures(scorer.logits, pictures, partial(deliver, name=name), track)
        deliveries |= measure({name: scores[name]}, scorer.findings, options.product_sources)
        if show is not None:
            show(name, deliveries[name])
    evidence = None
    if options.evidence_trials:
        say(f"checking the evidence map on {options.evidence_trials} pasted regions")
        evidence = check_evidence(scorer, scores["clean"].pictures, trials=options.evidence_trials)
    evaluation = _evaluate(scorer, options, data.fingerprint, scores, deliveries, evidence)
    write_report(evaluation, scores, scorer, output)
    _track(tracker, evaluation, scorer, options, output)
    return evaluation


def write_report(evaluation: Evaluation, scores: Mapping[str, Scores], scorer: Scorer, output: Path) -> None:
    """Writes the page and the JSON.

    Args:
        evaluation: The evaluation.
        scores: Scores by delivery, for the plots.
        scorer: Draws the evidence of the mistakes.
        output: Directory; made if it is missing.
    """
    output.mkdir(parents=True, exist_ok=True)
    answers = {name: (one.labels, metrics.sigmoid(one.logits)) for name, one in scores.items()}
    page = render(
        "evaluation.html.j2",
        evaluation=evaluation,
        titles=_TITLES,
        figures=list(dict.fromkeys(name for one in evaluation.deliveries.values() for name in one.figures)),
        roc=data_uri(plots.roc(answers, evaluation.point.threshold), "image/png"),
        reliability=data_uri(plots.reliability(answers), "image/png"),
        sheet=_contact_sheet(evaluation.mistakes, {one.path: one for one in scores["clean"].pictures}, scorer),
    )
    (output / HTML_FILE).write_text(page, encoding="utf-8")
    (output / JSON_FILE).write_text(json.dumps(evaluation.to_json(), indent=2) + "\n", encoding="utf-8")


def _check_classes(pictures: Sequence[Picture], part: str) -> None:
    missing = [name for label, name in enumerate(LABELS) if not any(one.label == label for one in pictures)]
    if missing:
        raise DataError(f"part '{part}' has no picture labelled {' or '.join(missing)}; evaluate on another part")


def _evaluate(
    scorer: Scorer,
    options: EvaluationOptions,
    fingerprint: str,
    scores: Mapping[str, Scores],
    deliveries: dict[str, Delivery],
    evidence: EvidenceCheck | None,
) -> Evaluation:
    point = scorer.findings.operating_point
    return Evaluation(
        model=scorer.name,
        data=options.root.name,
        part=options.part,
        fingerprint=fingerprint,
        trained_on=options.part == "all" and fingerprint == scorer.findings.lineage.data_fingerprint,
        point=point,
        product_sources=options.product_sources,
        deliveries=deliveries,
        generators=tabulate(scores, point.threshold, lambda one: one.generator if one.label else ""),
        sources=tabulate(scores, point.threshold, lambda one: one.source),
        evidence=evidence,
        mistakes=worst_mistakes(scores["clean"], point.threshold, MISTAKES),
    )


def _contact_sheet(
    mistakes: Sequence[Mistake], pictures: Mapping[str, Picture], scorer: Scorer
) -> list[tuple[Mistake, str]]:
    drawn = []
    for mistake in mistakes:
        data = pictures[mistake.path].data
        made = preprocess(data)
        drawn.append((mistake, decode(data).image, made.boxes, scorer.evidence(made.crops[None])[0]))
    if not drawn:
        return []
    # One scale for the sheet, so that colours can be compared from picture to picture.
    scale = float(np.quantile(np.abs([evidence for *_, evidence in drawn]), 0.95)) or 1.0
    return [
        (mistake, picture_uri(plots.overlay(image, boxes, evidence, scale)))
        for mistake, image, boxes, evidence in drawn
    ]


def _track(tracker: Tracker, evaluation: Evaluation, scorer: Scorer, options: EvaluationOptions, output: Path) -> None:
    findings = scorer.findings
    tracker.params(
        {
            "model": evaluation.model,
            "model_sha256": sha256_file(scorer.file),
            "trained_by": findings.lineage.run_id,
            "recipe": findings.lineage.recipe,
            "data": evaluation.data,
            "data_fingerprint": evaluation.fingerprint,
            "part": evaluation.part,
            "product_sources": ", ".join(options.product_sources)[:450],
            "max_per_class": options.max_per_class,
            "evidence_trials": options.evidence_trials,
            **asdict(evaluation.point),
            **asdict(findings.calibration),
            **environment(),
        }
    )
    tracker.metrics(evaluation.flat())
    for path in (output / HTML_FILE, output / JSON_FILE, scorer.file):
        tracker.artifact(path)


def choose_part(part: str, training: Mapping[str, Any]) -> Callable[[Dataset], Sequence[Picture]]:
    """Returns a function that picks what a training run left out.

    Args:
        part: ``all``, ``validation`` or ``holdout``.
        training: Metadata of the run's checkpoint.

    Returns:
        A function from the data set that the run was given to the part.

    Raises:
        UsageError: If the run left nothing out, or the checkpoint does not say.
    """
    if part == "all":
        return lambda data: data.pictures
    record = SplitRecord.read(training)
    if part == "holdout" and not record.holdout_sources and not record.holdout_generators:
        raise UsageError("this run held no source or generator out; use --part validation")

    def choose(data: Dataset) -> Sequence[Picture]:
        split = record.split(data)
        return split.holdout if part == "holdout" else split.validation

    return choose
