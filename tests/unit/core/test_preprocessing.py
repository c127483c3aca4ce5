"""Crops, their places and the statistics, on the samples and on made pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from veriphoto.contract import CONTRACT, SUFFIXES
from veriphoto.preprocessing import crop_boxes, preprocess

SAMPLES = Path(__file__).parents[3] / "samples"
SIZE = CONTRACT.crop_size


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def statistics(data: bytes) -> dict[str, float]:
    return dict(zip(CONTRACT.statistics, preprocess(data).statistics.tolist(), strict=True))


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (224, 224), (225, 400), (1500, 500), (12_000, 1)])
def test_shapes_for_any_size(size: tuple[int, int]) -> None:
    result = preprocess(encoded(noise(*size)))
    assert result.crops.shape == (CONTRACT.crops, SIZE, SIZE, 3)
    assert result.crops.dtype == np.uint8
    assert result.statistics.shape == (len(CONTRACT.statistics),)
    assert np.isfinite(result.statistics).all()


def test_squares_of_the_crop_size_are_cut_untouched() -> None:
    image = noise(SIZE, SIZE + 60)
    result = preprocess(encoded(image))
    whole = np.asarray(image)
    for crop, box in zip(result.crops, result.boxes, strict=True):
        assert box.side == SIZE
        np.testing.assert_array_equal(crop, whole[box.top : box.top + SIZE])


def test_large_squares_show_the_mean_of_what_they_cover() -> None:
    # Blocks of one colour, as large as the reduction: an average keeps them, picking every fourth pixel would too, so
    # the noise inside a block must be gone.
    blocks = np.random.default_rng(2).integers(60, 196, (SIZE, SIZE, 3)).repeat(4, 0).repeat(4, 1)
    noisy = blocks + np.random.default_rng(3).integers(-40, 41, blocks.shape)
    result = preprocess(encoded(Image.fromarray(noisy.astype(np.uint8))))
    assert result.boxes[0].side == 4 * SIZE
    means = noisy.reshape(SIZE, 4, SIZE, 4, 3).mean((1, 3))
    np.testing.assert_allclose(result.crops[0], means, atol=1.0)


def test_the_first_square_follows_a_picture_that_is_resized() -> None:
    large, small = crop_boxes(2400, 1800)[0], crop_boxes(1200, 900)[0]
    assert large.side == 2 * small.side
    assert large.left == 2 * small.left


@pytest.mark.parametrize("size", [(4000, 3000), (1280, 960), (400, 501), (240, 240), (100, 333)])
def test_the_square_is_the_middle_of_the_picture(size: tuple[int, int]) -> None:
    (box,) = crop_boxes(*size)
    assert box.side == min(size)
    assert abs(2 * box.left + box.side - size[0]) <= 1
    assert abs(2 * box.top + box.side - size[1]) <= 1


def test_small_pictures_are_enlarged_from_the_largest_square() -> None:
    boxes = crop_boxes(300, 100)
    assert {(box.left, box.top, box.side) for box in boxes} == {(100, 0, 100)}


@pytest.mark.parametrize("size", [(224, 224), (640, 480), (4000, 3000), (224, 9000)])
def test_boxes_lie_inside(size: tuple[int, int]) -> None:
    width, height = size
    for box in crop_boxes(width, height):
        assert 0 <= box.left <= width - box.side
        assert 0 <= box.top <= height - box.side


def test_the_same_bytes_give_the_same_arrays() -> None:
    for path in (path for path in SAMPLES.iterdir() if path.suffix in SUFFIXES):
        first, second = preprocess(path.read_bytes()), preprocess(path.read_bytes())
        np.testing.assert_array_equal(first.crops, second.crops)
        np.testing.assert_array_equal(first.statistics, second.statistics)


def test_statistics_say_what_the_file_is() -> None:
    data = encoded(noise(300, 200).resize((600, 400)), "JPEG", quality=60)
    found = statistics(data)
    assert (found["width"], found["height"], found["bytes"], found["format"]) == (600, 400, len(data), 0)
    assert found["jpeg_quality"] == pytest.approx(60, abs=2)
    assert statistics(encoded(noise(30, 20)))["jpeg_quality"] == 0


@pytest.mark.parametrize("quality", [25, 40, 50, 75, 90, 95])
def test_jpeg_quality_is_estimated(quality: int) -> None:
    assert statistics(encoded(noise(64, 64), "JPEG", quality=quality))["jpeg_quality"] == pytest.approx(quality, abs=2)


def test_blockiness_rises_with_compression_and_sharpness_falls_with_blur() -> None:
    photo = Image.open(SAMPLES / "real_mangos.png").convert("RGB")
    fine, coarse = (statistics(encoded(photo, "JPEG", quality=quality))["blockiness"] for quality in (90, 10))
    assert coarse > 1.3 > fine
    blurred = photo.resize((87, 87)).resize(photo.size)
    assert statistics(encoded(blurred))["sharpness"] < 0.5 * statistics(encoded(photo))["sharpness"]
