"""What follows a training run: score what it kept out, calibrate, write ``findings.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from veriphoto.errors import DataError
from veriphoto.manifest import FINDINGS_FILE, Findings
from veriphoto_training.calibration import find, only
from veriphoto_training.data import Picture
from veriphoto_training.deliveries import DELIVERIES
from veriphoto_training.evaluation import is_product
from veriphoto_training.model import load_checkpoint
from veriphoto_training.scoring import score


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Pictures that decide calibration and threshold; none may have been trained on."""

    pictures: tuple[Picture, ...]
    product_sources: tuple[str, ...] = ("*",)
    """Patterns of the real sources whose false alarms the threshold bounds."""

    @property
    def product(self) -> list[bool]:
        """Which pictures those are."""
        return [is_product(picture, self.product_sources) for picture in self.pictures]


def write_findings(
    checkpoint: Path, chosen: CalibrationSet, *, half: bool = False, size: int | None = None
) -> Findings:
    """Calibrates a checkpoint and writes ``findings.json`` beside it.

    Args:
        checkpoint: ``best.pt``.
        chosen: What to calibrate on.
        half: Score in bfloat16; the exported graph runs in float32, so only where speed counts more.
        size: See ``scoring.score``.

    Returns:
        The findings.

    Raises:
        DataError: If the calibration set lacks a class or product photos.
    """
    if not any(chosen.product) or not any(picture.label for picture in chosen.pictures):
        raise DataError("calibration needs held-out real product photos and AI pictures; keep out more")
    network, metadata = load_checkpoint(checkpoint)
    scores = {name: score(network, chosen.pictures, name, half=half, size=size) for name in DELIVERIES}
    product = {
        name: only(part, [is_product(picture, chosen.product_sources) for picture in part.pictures])
        for name, part in scores.items()
    }
    findings = find(scores, product, metadata)
    findings.write(checkpoint.parent / FINDINGS_FILE)
    return findings
