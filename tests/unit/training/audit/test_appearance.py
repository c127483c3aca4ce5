"""Looks that give the class away are caught, and balanced by weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from training_pictures import encoded, textured

from veriphoto_training.audit.appearance import judge_looks
from veriphoto_training.data.appearance import LOOKS, looks
from veriphoto_training.data.balancing import MOST, chances, effective, look_weights
from veriphoto_training.data.dataset import Picture

Make = Callable[..., Picture]
SIDE = (64, 64)


def photo(seed: int, vivid: bool) -> bytes:
    image = textured(seed, SIDE, smooth=True)
    return encoded(image if vivid else ImageEnhance.Color(image).enhance(0.3), quality=90)


@pytest.fixture
def collection(picture: Make, tmp_path: Path) -> Callable[[float, float], list[Picture]]:
    """120 photos of each class, of which the shares given are vivid."""

    def make(real: float, ai: float) -> list[Picture]:
        pictures = []
        for label, share in ((0, real), (1, ai)):
            for number in range(120):
                one = picture(f"{label}-{number}.jpg", label, source=f"s{number % 4}")
                one.file.write_bytes(photo(1000 * label + number, number < 120 * share))
                pictures.append(one)
        return pictures

    return make


def test_vivid_against_dull_is_caught_and_weights_balance_it(
    collection: Callable[[float, float], list[Picture]],
) -> None:
    found = judge_looks(collection(0.3, 0.75), 0.5, None, lambda pictures: pictures)
    assert found.plain.auroc.low > 0.55
    assert next(iter(found.plain.columns)) == "chroma"
    assert found.plain.columns["chroma"] > 0.65
    assert found.balanced.auroc.value < found.plain.auroc.value - 0.1
    assert found.balanced.columns["chroma"] < 0.6
    assert found.balanced_pictures["ai"] < found.pictures["ai"]


def test_alike_looks_pass(collection: Callable[[float, float], list[Picture]]) -> None:
    found = judge_looks(collection(0.5, 0.5), 0.5, None, lambda pictures: pictures)
    assert found.plain.auroc.low < 0.55


def test_content_comes_from_features_where_they_are_given(
    collection: Callable[[float, float], list[Picture]],
) -> None:
    pictures = collection(0.5, 0.5)

    def content(chosen: list[Picture]) -> np.ndarray:
        return np.array([[5.0 * one.label, 0.1 * (index % 3)] for index, one in enumerate(chosen)], np.float32)

    assert judge_looks(pictures, 0.5, content, lambda chosen: chosen).plain.auroc.value > 0.95


def test_photos_without_their_like_in_the_other_class_become_rare_but_never_vanish(picture: Make) -> None:
    pictures = [picture(f"{label}/{number}.jpg", label) for label in (0, 1) for number in range(100)]
    rng = np.random.default_rng(0)
    measured = np.column_stack([rng.normal(size=(200, 5)), np.zeros(200)]).astype(np.float32)
    measured[150:, 0] += 20  # half of the AI photos look like no real one
    weights = look_weights(pictures, measured, 0.5)
    assert weights.min() >= 1 / MOST - 1e-9
    assert weights.max() <= MOST + 1e-9
    drawn = chances(pictures, 0.5, weights)
    assert drawn[150:].sum() < 0.15
    assert drawn[150:].min() > 0
    assert look_weights(pictures, measured, 0.5, strength=0.0) == pytest.approx(np.ones(200))


def test_chances_are_those_of_class_source_group_and_photo(picture: Make) -> None:
    pictures = [picture(f"r{number}", 0, source="large") for number in range(9)]
    pictures += [picture("r9", 0, source="small")]
    pictures += [picture(f"a{number}", 1, source="ai", group="one") for number in range(3)]
    pictures += [picture("a3", 1, source="ai", group="two")]
    drawn = chances(pictures, 0.5)
    assert drawn[:9] == pytest.approx(np.full(9, 0.5 * 3 / 4 / 9))  # three times the small source's: 9 ** 0.5
    assert drawn[9] == pytest.approx(0.5 / 4)
    assert drawn[10:] == pytest.approx([0.25 / 3] * 3 + [0.25])
    doubled = chances(pictures, 0.5, np.array([1.0] * 13 + [3.0]))
    assert doubled[10:] == pytest.approx([0.125 / 3] * 3 + [0.375])
    assert effective(np.array([0.5, 0.5])) == pytest.approx(2)
    assert effective(np.array([1.0, 0.0])) == pytest.approx(1)


def test_white_and_grey_are_told_apart(picture: Make) -> None:
    pictures = [picture("white.png"), picture("grey.png"), picture("broken.png")]
    pictures[0].file.write_bytes(encoded(Image.new("RGB", SIDE, "white"), "PNG"))
    pictures[1].file.write_bytes(encoded(Image.new("RGB", SIDE, (128, 120, 128)), "PNG"))
    pictures[2].file.write_bytes(b"no picture")
    found = dict(zip(LOOKS, looks(pictures).T, strict=True))
    assert found["share of white"] == pytest.approx([1, 0, 0.5])
    assert found["brightness"][0] > found["brightness"][1]
    assert found["chroma"].tolist() == pytest.approx([0, 8, 4], abs=0.5)
    assert found["content"][0] != found["content"][1]
