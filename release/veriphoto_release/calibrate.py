"""A new version of a model for one shop: the same network and second opinion, other cuts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from veriphoto.contract import CLASSIFIER, ENCODER, PROBABILITY
from veriphoto.errors import DataError, ModelError, UsageError
from veriphoto.manifest import Findings
from veriphoto.opinions import EncoderPackage, Opinions
from veriphoto.second_opinion import OPINION_FILE, Mode, SecondOpinion, read_opinion
from veriphoto_export.pictures import find_pictures
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.publish import next_version, publish
from veriphoto_release.versions import BASE_VERSION
from veriphoto_training.calibration.shop import ShopFit, fit_shop, needed, too_few
from veriphoto_training.calibration.shop_photos import ShopScores, score_shop, score_shop_with
from veriphoto_training.scoring.scorers import OnnxScorer

Track = Callable[[Sequence[Path]], Iterable[Path]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrated:
    """What a calibration found and wrote."""

    base: int
    """Version whose network it is."""
    scores: ShopScores
    """The classifier's."""
    fit: ShopFit
    """The classifier's, for servers that ask for no second opinion."""
    joint: ShopFit | None
    """That of the joint score; None where the version has no second opinion."""
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

    A version with a second opinion is fitted twice: its joint score, as the server gives it, and its classifier alone.

    Args:
        real: Folder of the shop's own real photos, as it receives them.
        rate: Share of real photos that may be called AI-generated.
        repository: The Triton model repository.
        version: Version to start from; the newest if None.
        write: Publish the result; otherwise only report it.
        track: Shows progress.

    Returns:
        The fit, and the new version's directory.

    Raises:
        DataError: If there are too few photos for the rate, or the model takes too many of them for AI.
        UsageError: If the folder or the version is missing.
        ModelError: If the version must not be used, its second opinion cannot be asked, or the disk refuses.
    """
    files = find_pictures(real)
    if len(files) < needed(rate):  # before anything is scored
        raise DataError(f"{real}: {too_few(len(files), rate)}")
    directory = repository / CLASSIFIER if version is None else repository / CLASSIFIER / str(version)
    if not directory.is_dir():
        raise UsageError(f"{directory} is missing; publish a model first: veriphoto export")
    model = OnnxScorer(directory)
    opinion = read_opinion(model.directory)
    scores, joint_scores = _score(files, model, opinion, repository, track)
    fit = fit_shop(scores.probability, rate)
    joint = None if joint_scores is None else fit_shop(joint_scores.probability, rate)
    target = None
    if write:
        bundle = ModelBundle(
            graph=onnx.load(model.file),
            findings=_refitted(model, fit),
            evidence_bias=model.manifest.evidence_bias,
            # Variants are not kept: they were accepted at the other threshold.
            opinion=_refitted_opinion(opinion, joint) if opinion and joint else None,
        )
        target = publish(bundle, repository, next_version(repository))
    return Calibrated(base=model.manifest.model_version, scores=scores, fit=fit, joint=joint, directory=target)


def _score(
    files: Sequence[Path], model: OnnxScorer, opinion: SecondOpinion | None, repository: Path, track: Track
) -> tuple[ShopScores, ShopScores | None]:
    point = model.findings.operating_point
    if opinion is None:
        return score_shop(files, model, point, track), None
    opinions = _open(model, opinion, repository)

    def both(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        rows = []
        for picture in crops:
            first = model.answers(picture[None])
            rows.append([tensors[PROBABILITY][0, 0] for tensors in (first, opinions.joined(picture, first))])
        return np.array(rows, np.float32)

    alone, joint = score_shop_with(files, both, [point, opinion.operating_point], track)
    return alone, joint


def _open(model: OnnxScorer, opinion: SecondOpinion, repository: Path) -> Opinions:
    """Opens the version's second opinion as the server does, but never does without it."""
    package = EncoderPackage.require(repository / ENCODER / "1")
    if not opinion.fits(package.encoder):
        raise ModelError(
            f"{model.directory / OPINION_FILE} was fitted for another encoder than the one in {repository / ENCODER}; "
            "fit it again: veriphoto second-opinion"
        )
    try:
        features = package.open(os.cpu_count() or 1)
    except ModuleNotFoundError as error:
        raise ModelError(f"the second opinion needs onnxruntime or openvino: {error}") from error
    served = opinion.of_version(model.manifest.model_version)
    return Opinions(lambda _: served, package.encoder, features, Mode.AUTO)


def _refitted(model: OnnxScorer, fit: ShopFit) -> Findings:
    findings = model.findings
    noted = {
        BASE_VERSION: float(model.manifest.model_version),
        "shop_photos": float(fit.photos),
        "shop_rate": fit.rate,
    }
    return replace(
        findings,
        operating_point=fit.apply(findings.operating_point),
        metrics={**findings.metrics, **noted},
        drift_reference=findings.drift_reference.without_verdicts(),
    )


def _refitted_opinion(opinion: SecondOpinion, fit: ShopFit) -> SecondOpinion:
    return replace(
        opinion,
        operating_point=fit.apply_flag(opinion.operating_point),
        drift_reference=opinion.drift_reference.without_verdicts(),
    )
