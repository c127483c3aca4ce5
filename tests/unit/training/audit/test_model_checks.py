"""What a model says about the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from brightness_model import draw

from veriphoto.manifest import Findings
from veriphoto_training.audit.model_checks import ask_model, contradictions
from veriphoto_training.data.dataset import Picture


class Blockiness:
    """A model that takes the grain that JPEG removes for AI."""

    name = "grain"
    file = Path()

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def logits(self, crops: np.ndarray) -> np.ndarray:
        steps = np.abs(np.diff(crops[:, 0].astype(np.float64).mean(axis=-1), axis=-1)).mean(axis=(1, 2))
        return (steps - 1.86) * 5.0

    def evidence(self, crops: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def _pictures(folder: Path) -> list[Picture]:
    rng = np.random.default_rng(0)
    pictures = []
    for label in (0, 1):
        for index in range(6):
            path = f"{label}{index}.png"
            picture = draw(index + 10 * label, size=(240, 240), kind="PNG", grain=4.0 if label else 1.0)
            (folder / path).write_bytes(picture)
            pictures.append(Picture(path=path, label=label, source="s", group=path, file=folder / path))
    rng.shuffle(pictures)  # type: ignore[arg-type]
    return pictures


def test_a_model_that_lives_on_grain_is_moved_by_one_more_jpeg(tmp_path: Path, findings: Findings) -> None:
    found = ask_model(_pictures(tmp_path), Blockiness(findings))
    assert found.plain.value == 1.0
    assert found.reencoded.value < 0.9
    assert found.shift.value == found.reencoded.value - 1.0
    assert found.shift.low <= found.shift.value <= found.shift.high


def test_contradictions_come_most_confident_first() -> None:
    probability = np.array([0.97, 0.99, 0.5, 0.01, 0.96, 0.03])
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert contradictions(probability, labels) == [1, 3, 0, 5]
