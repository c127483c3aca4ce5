"""Fits a second opinion for a published version, and publishes both as a new version."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnx

from veriphoto.contract import CLASSIFIER, ENCODER
from veriphoto.errors import UsageError
from veriphoto.opinions import EncoderPackage
from veriphoto_export.variant_files import load_variants
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.publish import latest, next_version, publish
from veriphoto_training.data.dataset import read_dataset
from veriphoto_training.opinion.fit import Fitted, Roles, fit_opinion
from veriphoto_training.opinion.looks import Track, open_looks
from veriphoto_training.scoring.scorers import OnnxScorer

_KEY: Final = 12


def add_opinion(
    data: Sequence[Path],
    roles: Roles,
    *,
    repository: Path,
    cache: Path,
    version: int | None = None,
    track: Track = lambda pictures: pictures,
) -> tuple[Fitted, Path]:
    """Fits a published version's second opinion and publishes both as a new version.

    Args:
        data: Data sets to fit on.
        roles: Says which sources may be used for what.
        repository: The Triton model repository, which holds the encoder.
        cache: Directory that keeps scores and features between runs.
        version: Version to start from; the newest if None.
        track: Shows progress.

    Returns:
        The fit, and the new version's directory.

    Raises:
        DataError: If the data do not suffice.
        UsageError: If there is no such version.
        ModelError: If version or encoder must not be used, or the disk refuses.
    """
    base = latest(repository) if version is None else version
    directory = repository / CLASSIFIER / str(base)
    if not directory.is_dir():
        raise UsageError(f"{directory} is missing; publish a model first: veriphoto export")
    model = OnnxScorer(directory)
    encoder = EncoderPackage.require(repository / ENCODER / "1")
    identity = encoder.encoder.identity
    pictures = [picture for root in data for picture in read_dataset(root).pictures]
    fitted = fit_opinion(
        pictures,
        roles,
        open_looks(model.file, encoder, os.cpu_count() or 1),
        identity=identity,
        point=model.findings.operating_point,
        # The network's scores do not depend on the version's number, which is in the graph.
        cache=cache / f"{identity[:_KEY]}-{model.findings.lineage.run_id[:_KEY]}",
        track=track,
    )
    bundle = ModelBundle(
        graph=onnx.load(model.file),
        findings=replace(
            model.findings,
            operating_point=fitted.first_point,
            drift_reference=model.findings.drift_reference.without_verdicts(),
        ),
        evidence_bias=model.manifest.evidence_bias,
        variants=load_variants(directory),
        opinion=fitted.opinion,
    )
    target = publish(bundle, repository, next_version(repository))
    return fitted, target
