"""Finishes a training run: scores what it kept out, calibrates, writes ``findings.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from veriphoto.errors import DataError
from veriphoto.manifest import FINDINGS_FILE, Findings
from veriphoto_training.calibration.fit import FALSE_ALARMS, find, only, pictures_needed
from veriphoto_training.data.dataset import Picture
from veriphoto_training.evaluation.judgement import is_product
from veriphoto_training.network.model import load_checkpoint
from veriphoto_training.scoring.deliveries import DELIVERIES
from veriphoto_training.scoring.logits import score, scoring_size


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Pictures that decide calibration and threshold; none may have been trained on."""

    seen: tuple[Picture, ...]
    """Other groups of the sources that were trained on."""
    unseen: tuple[Picture, ...] = ()
    """Whole sources and generators that were left out."""
    product_sources: tuple[str, ...] = ("*",)
    """Patterns of the real sources whose false alarms the threshold bounds."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All of them."""
        return self.seen + self.unseen

    def require_both(self) -> None:
        """Checks that there is something to calibrate on.

        Raises:
            DataError: If the set lacks a class or product photos.
        """
        real = sum(not picture.label for picture in self.pictures)
        products = _products(self.pictures, self.product_sources)
        if not products or real == len(self.pictures):
            raise DataError(
                f"{real} real photos ({len(products)} of them product photos) and {len(self.pictures) - real} "
                "AI-generated ones are kept out of training, and calibration needs some of each; add photos, or keep "
                "out more with --set validation_share=0.3"
            )

    def for_threshold(self) -> tuple[frozenset[str], ...]:
        """Paths of the real product photos that set the threshold: in sets, none of which may be flagged too often.

        A threshold set on sources that were trained on may be passed more than twice as often by shops never seen; and
        few unseen sources may be easy ones. So where there are enough product photos of unseen sources, they must
        keep within the rate by themselves too.
        """
        unseen = _products(self.unseen, self.product_sources)
        both = unseen | _products(self.seen, self.product_sources)
        return (both, unseen) if len(unseen) >= pictures_needed(FALSE_ALARMS["clean"]) else (both,)


def _products(pictures: tuple[Picture, ...], patterns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(picture.path for picture in pictures if is_product(picture, patterns))


def write_findings(checkpoint: Path, chosen: CalibrationSet, *, half: bool = False) -> Findings:
    """Calibrates a checkpoint and writes ``findings.json`` beside it.

    All deliveries are used together. A recipe of tiny whole pictures, which no platform resizes and which was never
    trained on re-encoded files, is calibrated on files as they are.

    Args:
        checkpoint: ``best.pt``.
        chosen: Pictures to calibrate on.
        half: Score in bfloat16; the exported graph runs in float32, so only where speed counts more.

    Returns:
        The findings.

    Raises:
        DataError: If the calibration set lacks a class or product photos.
    """
    chosen.require_both()
    deciding = chosen.for_threshold()
    network, metadata = load_checkpoint(checkpoint)
    size = scoring_size(metadata["recipe"])
    deliveries = DELIVERIES if size is None else ("clean",)
    scores = {name: score(network, chosen.pictures, name, half=half, size=size) for name in deliveries}
    product = [
        {name: only(part, [picture.path in photos for picture in part.pictures]) for name, part in scores.items()}
        for photos in deciding
    ]
    findings = find(scores, product, metadata)
    findings.write(checkpoint.parent / FINDINGS_FILE)
    return findings
