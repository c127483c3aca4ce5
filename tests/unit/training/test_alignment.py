from __future__ import annotations

import numpy as np
import pytest
from conftest_pictures import encoded, textured

from veriphoto_training.alignment import Chain, Pixels
from veriphoto_training.metrics import auroc
from veriphoto_training.shop import TREATMENTS, Treatment


def grid_phase(pixels: Pixels) -> int:
    """Which of eight columns carries the block borders of the last JPEG."""
    steps = np.abs(np.diff(pixels.astype(float).mean(2), axis=1)).mean(0)
    return int(np.argmax([steps[phase::8].mean() for phase in range(8)]))


@pytest.mark.parametrize("size", [(40, 300), (64, 64), (500, 333), (1, 1)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_picture_gives_two_views_of_the_right_size(size: tuple[int, int], kind: str) -> None:
    data = encoded(textured(1, size), kind)
    views = Chain(64, 0.5, True)(data, np.random.default_rng(0))
    assert [(view.shape, view.dtype) for view in views] == [((64, 64, 3), np.uint8)] * 2


def test_the_same_draw_gives_the_same_pixels() -> None:
    data, chain = encoded(textured(2)), Chain(64, 0.5, True)
    first, second = (chain(data, np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], chain(data, np.random.default_rng(8))[0])


def test_block_borders_fall_anywhere() -> None:
    data = encoded(textured(3, (300, 300), smooth=True), "PNG")
    phases = {grid_phase(Chain(64, 0.0, False)(data, np.random.default_rng(seed))[0]) for seed in range(80)}
    assert phases == set(range(8))


def test_format_quality_and_size_of_the_file_do_not_show() -> None:
    """One class large PNG, the other smaller JPEG q80, scenes alike: detail in the crops must not tell them apart."""
    chain, scores, labels = Chain(64, 0.0, False), [], []
    for seed in range(150):
        for label in (0, 1):
            picture = textured(seed * 2 + label, (260, 260))
            picture = picture if label else picture.resize((220, 220))
            data = encoded(picture, "PNG") if label else encoded(picture, quality=80)
            crop = chain(data, np.random.default_rng((seed, label)))[0].astype(float)
            scores.append(np.abs(np.diff(crop, axis=1)).mean())
            labels.append(label)
    area = auroc(np.array(labels), np.array(scores))
    assert 0.35 < area < 0.65


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_treatments_keep_the_size(treatment: Treatment) -> None:
    picture = textured(4, (90, 90))
    for seed in range(10):
        treated = treatment(picture, np.random.default_rng(seed))
        assert (treated.size, treated.mode) == ((90, 90), "RGB")
