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
from veriphoto_client._images import load


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
