"""Photos are cut as the words of a list say."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from training_pictures import encoded, textured

from veriphoto.errors import DataError, ImageError
from veriphoto_training.data.cuts import apply, parse


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("how", ["lossless native crop of JPEG", "native central crop 448x448, lossless (jpegtran)"])
def test_a_lossless_crop_has_the_very_pixels(how: str, subsampling: int) -> None:
    pytest.importorskip("jpeglib")
    data = encoded(textured(0, size=(700, 601)), quality=85, subsampling=subsampling)
    cut = pixels(apply(parse(f"{how}; real by date"), data))
    assert cut.shape == (448, 448, 3)
    whole = pixels(data)
    places = [
        (top, left)
        for top in range(64, 77, 4)
        for left in range(112, 127, 2)
        # The decoder smooths colour over the edge of a block, where the crop has no neighbour.
        if np.array_equal(whole[top + 2 : top + 446, left + 2 : left + 446], cut[2:446, 2:446])
    ]
    coarse = how.startswith("lossless native")
    assert places == [(64 if coarse or subsampling == 2 else 72, 112 if coarse or subsampling else 120)]


def test_a_native_crop_is_the_middle() -> None:
    image = textured(1, size=(600, 501))
    cut = pixels(apply(parse("native crop of PNG, JPEG q95 4:4:4; c2pa"), encoded(image, "PNG")))
    expected = np.asarray(image.crop((76, 26, 524, 474))).astype(int)
    assert cut.shape == expected.shape
    assert abs(cut - expected).mean() < 4


@pytest.mark.parametrize(
    ("how", "size", "expected"),
    [
        ("PNG scaled (Lanczos) to longer side 448, JPEG q92", (900, 450), (448, 224)),
        ("whole picture scaled to 448 px (Lanczos), alpha on white, JPEG q92; real by date", (300, 200), (300, 200)),
        ("JPEG not scaled, JPEG q92; edges cut [0, 0, 0, 0.12]", (360, 360), (360, 316)),
        ("PNG scaled (Lanczos) to longer side 448, JPEG q92; cell [300, 0, 300, 200] of grid", (900, 200), (300, 200)),
        ("flattened on white, JPEG q95 4:4:4", (500, 480), (500, 480)),
    ],
)
def test_a_whole_picture_is_made_small(how: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(apply(parse(how), encoded(textured(2, size=size), "PNG")))) as image:
        assert (image.format, image.size) == ("JPEG", expected)


def test_clear_parts_become_white() -> None:
    data = encoded(Image.new("RGBA", (300, 300), (0, 0, 0, 0)), "PNG")
    assert pixels(apply(parse("whole picture, not scaled, JPEG q92"), data)).min() > 250


def test_without_a_cut_the_bytes_stay() -> None:
    data = encoded(textured(3), quality=70)
    assert apply(parse("commit: images of a generator"), data) == data


@pytest.mark.parametrize(
    "how", ["JPEG not scaled, JPEG q92; cell 0 of grid", "x, lossless (jpegtran) after lossless rotation"]
)
def test_words_that_do_not_suffice_are_refused(how: str) -> None:
    with pytest.raises(DataError, match="does not say"):
        parse(how)


@pytest.mark.parametrize(
    ("how", "data"),
    [
        ("original bytes", b"<html>"),
        ("whole picture, not scaled, JPEG q92", encoded(textured(4), quality=90)[:900]),
        ("lossless native crop of JPEG", encoded(textured(4), "PNG")),
        ("PNG not scaled, JPEG q92; cell [900, 0, 300, 200] of grid", encoded(textured(4), "PNG")),
        ("PNG not scaled, JPEG q92; edges cut [0.9, 0, 0.9, 0]", encoded(textured(4), "PNG")),
    ],
)
def test_what_cannot_be_cut_is_an_error_of_the_picture(how: str, data: bytes) -> None:
    with pytest.raises(ImageError):
        apply(parse(how), data)
