"""What a file tells without being looked at, and what finds its copies."""

from __future__ import annotations

import io

import numpy as np
import pytest
from brightness_model import draw
from PIL import Image

from veriphoto.errors import ImageError
from veriphoto_training.data.duplicates import find_pairs
from veriphoto_training.data.facts import METADATA, measure_file, metadata


def _column(data: bytes, name: str) -> float:
    return float(metadata(data)[METADATA.index(name)])


def _again(data: bytes, scale: float, quality: int) -> bytes:
    image = Image.open(io.BytesIO(data))
    small = image.resize((round(image.width * scale), round(image.height * scale)))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"size": (120, 80)}, "width", 120),
        ({"size": (120, 80)}, "height", 80),
        ({"kind": "JPEG"}, "format", 0),
        ({"kind": "PNG"}, "format", 1),
        ({"kind": "WEBP"}, "format", 2),
        ({"subsampling": 0}, "chroma subsampling", 0),
        ({"subsampling": 2}, "chroma subsampling", 2),
        ({"kind": "PNG"}, "chroma subsampling", -1),
        ({"quality": 50}, "luminance table 0", 16),
        ({"quality": 100}, "chrominance table 63", 1),
    ],
)
def test_metadata_is_what_the_file_says(options: dict[str, object], name: str, value: float) -> None:
    assert _column(draw(**options), name) == value


def test_bytes_per_pixel_and_missing_tables() -> None:
    data = draw(size=(100, 50), kind="PNG")
    assert _column(data, "bytes per pixel") == pytest.approx(len(data) / 5000)
    assert np.isnan(_column(data, "luminance table 0"))


def test_a_broken_file_is_refused() -> None:
    with pytest.raises(ImageError):
        measure_file(draw()[:900])


def test_copies_are_found_and_different_pictures_are_not() -> None:
    first, other = draw(1, size=(240, 240)), draw(2, size=(240, 240))
    files = [first, other, first, _again(first, 0.5, 40), _again(other, 1.3, 70)]
    pairs = {(pair.first, pair.second): pair.exact for pair in find_pairs([measure_file(data) for data in files])}
    assert pairs == {(0, 2): True, (0, 3): False, (2, 3): False, (1, 4): False}


def test_pictures_composed_alike_are_not_copies() -> None:
    files = []
    for colour in ("black", "navy", "white"):
        image = Image.new("RGB", (200, 200), "white")
        image.paste(Image.new("RGB", (80 if colour == "black" else 84, 60), colour), (60, 70))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files.append(buffer.getvalue())
    assert [(pair.first, pair.second) for pair in find_pairs([measure_file(data) for data in files])] in ([], [(0, 1)])


def test_flat_pictures_are_no_copies_of_each_other() -> None:
    rng = np.random.default_rng(0)
    files = []
    for _ in range(6):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(127, 130, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    assert find_pairs([measure_file(data) for data in files]) == []
