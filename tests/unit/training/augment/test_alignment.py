from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from training_pictures import encoded, textured

from veriphoto_training.augment.alignment import Chain, Pixels
from veriphoto_training.augment.colours import draw_tint
from veriphoto_training.scoring.metrics import auroc


def grid_phase(pixels: Pixels) -> int:
    """Which of eight columns carries the block borders of the last JPEG."""
    steps = np.abs(np.diff(pixels.astype(float).mean(2), axis=1)).mean(0)
    return int(np.argmax([steps[phase::8].mean() for phase in range(8)]))


@pytest.mark.parametrize("size", [(40, 300), (64, 64), (500, 333), (1, 1)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_picture_gives_two_views_of_the_right_size(size: tuple[int, int], kind: str) -> None:
    data = encoded(textured(1, size), kind)
    views = Chain(64, True)(data, np.random.default_rng(0))
    assert [(view.shape, view.dtype) for view in views] == [((64, 64, 3), np.uint8)] * 2


def test_the_same_draw_gives_the_same_pixels() -> None:
    data, chain = encoded(textured(2)), Chain(64, True)
    first, second = (chain(data, np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], chain(data, np.random.default_rng(8))[0])


def test_block_borders_fall_anywhere() -> None:
    data = encoded(textured(3, (300, 300), smooth=True), "PNG")
    phases = {grid_phase(Chain(64, False)(data, np.random.default_rng(seed))[0]) for seed in range(80)}
    assert phases == set(range(8))


def test_format_quality_and_size_of_the_file_do_not_show() -> None:
    """One class large PNG, the other smaller JPEG q80, scenes alike: detail in the crops must not tell them apart."""
    chain, scores, labels = Chain(64, False), [], []
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


def test_both_views_of_a_picture_get_the_same_colours() -> None:
    """A grey picture shows the light and balance that were drawn; the views differ by their encoding only."""
    data = encoded(Image.new("RGB", (300, 300), (128, 128, 128)), "PNG")
    chain = Chain(64, True, colour_share=1.0)
    means = np.array([[view.mean((0, 1)) for view in chain(data, np.random.default_rng(seed))] for seed in range(40)])
    clean, degraded = means[:, 0], means[:, 1]
    assert np.abs(clean - degraded).max() < 12.0  # a coarse JPEG's step of a flat colour
    assert np.median(np.abs(clean - degraded)) < 2.0
    assert clean.mean(1).std() > 15.0
    assert np.ptp(clean, axis=1).max() > 15.0


def test_no_colours_are_drawn_unless_asked_for() -> None:
    data = encoded(Image.new("RGB", (300, 300), (90, 128, 200)), "PNG")
    views = [view for seed in range(20) for view in Chain(64, True)(data, np.random.default_rng(seed))]
    assert np.abs(np.array([view.mean((0, 1)) for view in views]) - (90, 128, 200)).max() < 12.0


def test_a_tint_may_leave_no_colour_and_keeps_size_and_mode() -> None:
    picture = textured(5, (40, 30))
    tinted = [draw_tint(np.random.default_rng(seed))(picture) for seed in range(60)]
    assert {(each.size, each.mode) for each in tinted} == {((40, 30), "RGB")}
    spread = [np.ptp(np.asarray(each).astype(int), axis=2).max() for each in tinted]
    assert 2 <= sum(value == 0 for value in spread) <= 20
