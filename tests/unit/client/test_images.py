"""What callers hand over, and what travels."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from photo_corpus import picture, write_broken
from PIL import Image

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto.decoding import decode
from veriphoto.errors import CorruptImageError, FileTooLargeError, UnreadableFileError
from veriphoto_client.sdk.images import load


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_travel_as_they_are(kind):
    data = picture()
    loaded = load(kind(data))
    assert type(loaded) is bytes
    assert loaded == data


@pytest.mark.parametrize("kind", [str, Path])
def test_files_travel_as_they_are(tmp_path, kind):
    path = tmp_path / "a photo.jpg"
    path.write_bytes(picture())
    assert load(kind(path)) == picture()


def test_names_that_are_not_utf8_can_be_read(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    path.write_bytes(picture())
    assert load(path) == picture()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr", "HSV"])
def test_pil_images_travel_without_loss(mode):
    source = Image.open(io.BytesIO(picture())).convert(mode)
    sent = Image.open(io.BytesIO(load(source)))
    assert sent.format == "PNG"
    expected = source if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else source.convert("RGB")
    assert np.array_equal(np.asarray(sent), np.asarray(expected))


def shown(image: Image.Image) -> np.ndarray:
    """What the server makes of it."""
    return np.asarray(decode(load(image)).image)


GREY = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
HALF_CLEAR = np.dstack([np.full((8, 8), value, np.uint8) for value in (200, 100, 40, 128)])


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N", "I"])
def test_16_bits_are_16_bits_in_any_byte_order(mode):
    stored = GREY.astype(">u2") if mode == "I;16B" else GREY.astype(np.int32 if mode == "I" else "<u2")
    image = Image.frombytes(mode, (32, 32), stored.tobytes())
    np.testing.assert_array_equal(shown(image)[..., 0], GREY >> 8)


def test_a_big_endian_tiff_of_16_bits_is_what_it_was(tmp_path):
    Image.frombytes("I;16B", (32, 32), GREY.astype(">u2").tobytes()).save(tmp_path / "deep.tif")
    with Image.open(tmp_path / "deep.tif") as image:
        np.testing.assert_array_equal(shown(image)[..., 0], GREY >> 8)


def test_8_bits_in_mode_i_are_not_black():
    image = Image.open(io.BytesIO(picture())).convert("L")
    np.testing.assert_array_equal(shown(image.convert("I")), shown(image))


@pytest.mark.parametrize(("mode", "premultiplied"), [("RGBA", "RGBa"), ("LA", "La")])
def test_premultiplied_alpha_lies_on_white(mode, premultiplied):
    image = Image.fromarray(HALF_CLEAR, "RGBA").convert(mode)
    assert np.abs(shown(image.convert(premultiplied)).astype(int) - shown(image)).max() <= 2
    assert shown(image).min() > 120, "white shows through"


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image.new("F", (8, 8), 0.5), id="F"),
        pytest.param(Image.new("I", (8, 8), 70_000), id="more than 16 bits"),
        pytest.param(Image.new("I", (8, 8), -1), id="negative"),
    ],
)
def test_values_of_no_known_range_are_a_programmers_mistake(image):
    with pytest.raises(TypeError, match="convert it to RGB"):
        load(image)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBA", "RGBa", "LA", "PA"]
)
def test_every_mode_shows_what_pillow_shows(mode):
    """White where nothing is opaque, and the colours of Pillow's own conversion."""
    source = Image.fromarray(HALF_CLEAR[..., :3], "RGB")
    image = (source.convert("P") if mode == "PA" else source if mode != "RGBa" else source.convert("RGBA")).convert(
        mode
    )
    np.testing.assert_array_equal(shown(image), np.asarray(image.convert("RGBA").convert("RGB")))


def test_a_pil_image_keeps_the_way_it_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(picture(size=(96, 48)))).save(tmp_path / "phone.jpg", exif=exif)
    with Image.open(tmp_path / "phone.jpg") as phone:
        assert decode(load(phone)).image.size == decode(load(tmp_path / "phone.jpg")).image.size == (48, 96)


def test_a_pil_image_of_a_torn_file_is_refused():
    torn = Image.open(io.BytesIO(picture(size=(640, 480))[:-500]))
    with pytest.raises(CorruptImageError, match="PIL image"):
        load(torn)


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        (7, UnreadableFileError, "No such file"),
        (8, UnreadableFileError, "named pipe"),
        (9, FileTooLargeError, "limit is 20 MB"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, kind, error, said):
    path = write_broken(tmp_path / "x.jpg", kind)
    with pytest.raises(error, match=said) as caught:
        load(path)
    assert "x.jpg" in caught.value.message


@pytest.mark.parametrize("path", ["", "nowhere/at/all.jpg", "a\0b", ".", "x" * 300])
def test_paths_that_are_no_files(path):
    with pytest.raises(UnreadableFileError):
        load(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(picture())
    path.chmod(0)
    with pytest.raises(UnreadableFileError, match="allow this user"):
        load(path)


def test_too_many_bytes_are_refused_before_they_travel():
    with pytest.raises(FileTooLargeError):
        load(bytes(MAX_FILE_BYTES + 1))


@pytest.mark.parametrize("thing", [None, 3, ["a.jpg"], np.zeros((8, 8, 3), np.uint8)])
def test_other_things_are_a_programmers_mistake(thing):
    with pytest.raises(TypeError, match="bytes, a path or a PIL image"):
        load(thing)
