"""A new version of a model for one shop: the same network, another threshold and unsure band."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import DataError, UsageError
from veriphoto_release.pipeline import find_pictures
from veriphoto_release.publish import next_version, publish
from veriphoto_training.calibration.shop import ShopFit, fit_shop, needed, too_few
from veriphoto_training.calibration.shop_photos import ShopScores, score_shop
from veriphoto_training.scoring.scorers import OnnxScorer

Track = Callable[[Sequence[Path]], Iterable[Path]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrated:
    """What a calibration found and wrote."""

    base: int
    """Version whose network it is."""
    scores: ShopScores
    fit: ShopFit
    directory: Path | None
    """The new version; None where none was asked for."""


def calibrate_version(
    real: Path,
    *,
    rate: float,
    repository: Path,
    version: int | None = None,
    write: bool = True,
    track: Track = lambda files: files,
) -> Calibrated:
    """Refits a published version to a shop.

    Args:
        real: Folder of the shop's own real photos, as it receives them.
        rate: Share of real photos that may be called AI-generated.
        repository: The Triton model repository.
        version: Version to start from; the newest if None.
        write: Publish the result; else only tell it.
        track: Shows progress.

    Returns:
        The fit, and the new version's directory.

    Raises:
        DataError: If there are too few photos for the rate, or the model takes too many of them for AI.
        UsageError: If the folder or the version is missing.
        ModelError: If the version must not be used, or the disk refuses.
    """
    files = find_pictures(real)
    if len(files) < needed(rate):  # before anything is scored
        raise DataError(f"{real}: {too_few(len(files), rate)}")
    directory = repository / CLASSIFIER if version is None else repository / CLASSIFIER / str(version)
    if not directory.is_dir():
        raise UsageError(f"{directory} is missing; publish a model first: veriphoto export")
    model = OnnxScorer(directory)
    findings = model.findings
    scores = score_shop(files, model, findings.operating_point, track)
    fit = fit_shop(scores.probability, rate)
    target = None
    if write:
        base = model.manifest.model_version
        noted = {"shop_base_version": float(base), "shop_photos": float(fit.photos), "shop_rate": rate}
        target = publish(
            onnx.load(model.file),
            replace(
                findings,
                operating_point=fit.apply(findings.operating_point),
                metrics={**findings.metrics, **noted},
                drift_reference=findings.drift_reference.without_verdicts(),
            ),
            evidence_bias=model.manifest.evidence_bias,
            repository=repository,
            version=next_version(repository),
        )
    return Calibrated(base=model.manifest.model_version, scores=scores, fit=fit, directory=target)
