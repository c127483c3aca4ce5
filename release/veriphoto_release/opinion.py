"""Fits a second opinion for a published version or a registered model, and publishes or registers both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from veriphoto.contract import CLASSIFIER, CROPS, ENCODER
from veriphoto.errors import UsageError
from veriphoto.opinions import EncoderPackage
from veriphoto.verdict import OperatingPoint
from veriphoto_export.operating_point import UNSERVED, stamp
from veriphoto_export.variant_files import load_variants
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.publish import latest, next_version, publish
from veriphoto_release.registration import EXAMPLE_FILE, register
from veriphoto_release.registry import Registry
from veriphoto_training.data.dataset import read_dataset
from veriphoto_training.opinion.fit import Fitted, Roles, fit_opinion
from veriphoto_training.opinion.looks import Track, open_looks
from veriphoto_training.scoring.scorers import OnnxScorer

_KEY: Final = 12
_NO_POINT: Final = OperatingPoint(
    model_version=UNSERVED, threshold=0.0, unsure_low=0.0, unsure_high=0.0, min_side=0.0, max_blockiness=0.0
)


def add_opinion(
    data: Sequence[Path],
    roles: Roles,
    *,
    repository: Path,
    cache: Path,
    version: int | None = None,
    model: str = "",
    registry: Registry | None = None,
    track: Track = lambda pictures: pictures,
) -> tuple[Fitted, str]:
    """Fits a second opinion; both become a new version, or a new model where it is fitted for a registered one.

    Args:
        data: Data sets to fit on.
        roles: Says which sources may be used for what.
        repository: The Triton model repository, which holds the encoder.
        cache: Directory that keeps scores and features between runs.
        version: Version to start from; the newest if None.
        model: Number or alias of a registered model to start from instead.
        registry: The registry that has it; None for a version.
        track: Shows progress.

    Returns:
        The fit, and what was written, in words.

    Raises:
        DataError: If the data do not suffice.
        UsageError: If there is no such version or model.
        ModelError: If version or encoder must not be used, or the disk refuses.
        ServiceUnavailableError: If the registry fails.
    """
    if registry is None:
        base = latest(repository) if version is None else version
        directory = repository / CLASSIFIER / str(base)
        if not directory.is_dir():
            raise UsageError(f"{directory} is missing; publish a model first: veriphoto export")
    else:
        directory = registry.download(registry.find(model))
    scorer = OnnxScorer(directory)
    encoder = EncoderPackage.require(repository / ENCODER / "1")
    identity = encoder.encoder.identity
    graph = onnx.load(scorer.file)
    pictures = [picture for root in data for picture in read_dataset(root).pictures]
    fitted = fit_opinion(
        pictures,
        roles,
        open_looks(scorer.file, encoder, os.cpu_count() or 1),
        identity=identity,
        point=scorer.findings.operating_point,
        cache=cache / f"{identity[:_KEY]}-{_scores_of(graph)[:_KEY]}",
        track=track,
    )
    bundle = ModelBundle(
        graph=graph,
        findings=replace(
            scorer.findings,
            operating_point=fitted.first_point,
            drift_reference=scorer.findings.drift_reference.without_verdicts(),
        ),
        evidence_bias=scorer.manifest.evidence_bias,
        variants=load_variants(directory),
        opinion=fitted.opinion,
    )
    if registry is not None:
        crops = np.load(directory / EXAMPLE_FILE)[CROPS]
        made = register(bundle, registry=registry, example=crops, origin="second-opinion")
        return fitted, f"model {made.number} is challenger, with a second opinion for model {model}"
    return fitted, f"published {publish(bundle, repository, next_version(repository))}"


def _scores_of(graph: onnx.ModelProto) -> str:
    """Names what a graph scores: the same for all versions that differ in their number and cuts alone.

    The training run does not: averaging keeps the first run's name, and calibrating anew moves the scores.
    """
    return hashlib.sha256(stamp(graph, _NO_POINT).SerializeToString()).hexdigest()
