"""Pasted regions, and a map that should point at them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from brightness_model import draw

from veriphoto.decoding import decode
from veriphoto.errors import DataError
from veriphoto.preprocessing import Box, crop_boxes
from veriphoto_training.data.dataset import Picture
from veriphoto_training.evaluation.evidence_check import cells_inside, check_evidence, paste
from veriphoto_training.scoring.scorers import OnnxScorer


def _pictures(folder: Path, level: float, label: int, count: int = 6) -> list[Picture]:
    made = []
    for index in range(count):
        path = f"{label}{index}.jpg"
        (folder / path).write_bytes(draw(index + 50 * label, size=(300, 280), level=level))
        made.append(Picture(path=path, label=label, source="s", group=path, file=folder / path))
    return made


def test_only_the_region_changes_and_the_detector_sees_it() -> None:
    rng = np.random.default_rng(0)
    real, other = (decode(draw(seed, size=(500, 400))).image for seed in (1, 2))
    buffer = io.BytesIO()
    real.save(buffer, "JPEG", quality=92)
    plain = np.asarray(decode(buffer.getvalue()).image, dtype=np.int64)
    for _ in range(20):
        pasted = paste(real, other, rng)
        changed = np.abs(np.asarray(decode(pasted.data).image, dtype=np.int64) - plain).max(axis=2)
        box = pasted.region
        inside = np.zeros_like(changed, dtype=bool)
        inside[box.top : box.top + box.side, box.left : box.left + box.side] = True
        near = np.zeros_like(inside)
        near[max(0, box.top - 16) : box.top + box.side + 16, max(0, box.left - 16) : box.left + box.side + 16] = True
        assert changed[~near].max() == 0  # JPEG works in blocks: what is far keeps every bit
        assert (changed[inside] > 8).mean() > 0.5
        assert cells_inside(crop_boxes(500, 400), box).sum() >= 4


def test_a_cell_is_inside_when_its_centre_is() -> None:
    inside = cells_inside([Box(0, 0, 224), Box(32, 0, 224)], Box(32, 64, 64))
    assert sorted(map(tuple, np.argwhere(inside[0]))) == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert sorted(map(tuple, np.argwhere(inside[1]))) == [(2, 0), (2, 1), (3, 0), (3, 1)]


def test_a_map_that_points_right_is_told_from_one_that_points_anywhere(repository: Path, tmp_path: Path) -> None:
    scorer = OnnxScorer(repository / "classifier")
    pictures = [*_pictures(tmp_path, 60, 0), *_pictures(tmp_path, 220, 1)]
    found = check_evidence(scorer, pictures, trials=24)
    assert found.trials == 24
    assert found.rate.value > 0.9
    assert found.rate.low > found.control.value
    assert found.control.value < 0.6
    assert 0.05 < found.chance < 0.35
    backwards = check_evidence(scorer, [*_pictures(tmp_path, 220, 0), *_pictures(tmp_path, 60, 1)], trials=24)
    assert backwards.rate.value < 0.2


def test_one_class_is_not_enough(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two real pictures"):
        check_evidence(OnnxScorer(repository / "classifier"), _pictures(tmp_path, 60, 0), trials=4)
