"""HEIC and AVIF: what phones and browsers make, under the bounds of every other format."""

from __future__ import annotations

import struct

import numpy as np
import pillow_heif
import pytest
from benchmarks.odd_files import encoded
from PIL import Image

from veriphoto import errors
from veriphoto.decoding import decode

pillow_heif.register_heif_opener()

PICTURE = Image.linear_gradient("L").resize((320, 192)).convert("RGB")
KINDS = pytest.mark.parametrize(("kind", "name"), [("HEIF", "heif"), ("AVIF", "avif")])
HEIC = encoded(PICTURE, "HEIF", quality=80)
AVIF = encoded(PICTURE, "AVIF", quality=80)


@KINDS
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_both_are_decoded(kind, name, mode):
    decoded = decode(encoded(PICTURE.convert(mode), kind, quality=90))
    assert (decoded.format, decoded.image.mode, decoded.image.size) == (name, "RGB", PICTURE.size)
    assert np.abs(np.asarray(decoded.image).astype(int) - np.asarray(PICTURE)).mean() < 3


@KINDS
def test_alpha_lies_on_white(kind, name):
    clear = PICTURE.copy()
    clear.putalpha(Image.new("L", PICTURE.size, 0))
    assert np.asarray(decode(encoded(clear, kind, quality=90)).image).min() > 250


@KINDS
def test_the_first_picture_of_several(kind, name):
    data = encoded(PICTURE, kind, save_all=True, append_images=[Image.new("RGB", (320, 192), "red")], quality=90)
    assert np.abs(np.asarray(decode(data).image).astype(int) - np.asarray(PICTURE)).mean() < 3


@KINDS
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(kind, name, orientation):
    """Encoders write it twice: as rotation and mirroring of the file, and in EXIF."""
    stored = PICTURE.copy()
    stored.paste("red", (0, 0, 96, 64))  # a corner that says which way is up
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif.tobytes(), quality=90)
    assert orientation == 1 or b"irot" in data or b"imir" in data
    turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    expected = stored if orientation == 1 else stored.transpose(Image.Transpose(turned[orientation]))
    found = decode(data).image
    assert found.size == expected.size
    assert np.abs(np.asarray(found).astype(int) - np.asarray(expected)).mean() < 3


def test_exif_alone_turns_nothing():
    """The file format's own rotation counts; EXIF's word, which only repeats it, does not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(PICTURE, "HEIF", exif=exif, quality=90)  # not as bytes, so that the encoder does not look into it
    assert b"Exif" in data
    assert b"irot" not in data
    assert decode(data).image.size == PICTURE.size


@pytest.mark.parametrize("size", [(12_001, 8), (9_000, 5_000)])
@pytest.mark.parametrize("data", [HEIC, AVIF], ids=["heif", "avif"])
def test_the_limits_are_those_of_all(data, size):
    lie = data.replace(struct.pack(">II", *PICTURE.size), struct.pack(">II", *size))
    with pytest.raises((errors.SideTooLongError, errors.TooManyPixelsError)):
        decode(lie)


@pytest.mark.parametrize("data", [HEIC, AVIF], ids=["heif", "avif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_cut_file_is_refused(data, share):
    with pytest.raises(errors.ImageError):
        decode(data[: int(share * len(data))])
