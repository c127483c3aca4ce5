"""Every kind of file that a platform's users upload, made for real and decoded."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from veriphoto import errors
from veriphoto.contract import MAX_FILE_BYTES, MAX_SIDE, SUFFIXES
from veriphoto.decoding import decode, reduction

SAMPLES = sorted(path for path in (Path(__file__).parents[3] / "samples").iterdir() if path.suffix in SUFFIXES)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


def pixel(data: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    value = decode(data).image.getpixel(at)
    assert isinstance(value, tuple)
    return value


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_decode_to_what_they_are(path: Path) -> None:
    decoded = decode(path.read_bytes())
    assert decoded.image.mode == "RGB"
    assert decoded.format == path.suffix.removeprefix(".").replace("jpg", "jpeg")
    assert bool(decoded.quantization) == (decoded.format == "jpeg")


def test_alpha_lies_on_white() -> None:
    clear = Image.new("RGBA", (20, 20), (200, 0, 0, 0))
    half = Image.new("RGBA", (20, 20), (0, 0, 0, 128))
    assert pixel(encoded(clear, "PNG")) == (255, 255, 255)
    assert pixel(encoded(clear, "WEBP", lossless=True)) == (255, 255, 255)
    assert pixel(encoded(half, "PNG"))[0] == pytest.approx(127, abs=1)
    assert pixel(encoded(Image.new("LA", (20, 20), (0, 0)), "PNG")) == (255, 255, 255)


def test_palette_and_its_transparency() -> None:
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    assert pixel(encoded(palette, "PNG")) == (0, 0, 255)
    assert pixel(encoded(palette, "PNG", transparency=1)) == (255, 255, 255)


def test_grey_bilevel_and_16_bit() -> None:
    assert pixel(encoded(Image.new("L", (20, 20), 77), "JPEG"))[:1] == (77,)
    assert pixel(encoded(Image.new("1", (20, 20), 1), "PNG")) == (255, 255, 255)
    deep = Image.fromarray(np.full((20, 20), 0x1234, dtype=np.uint16))
    assert pixel(encoded(deep, "PNG")) == (0x12, 0x12, 0x12)


def test_cmyk() -> None:
    red = pixel(encoded(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "JPEG"))
    assert red[0] > 240
    assert max(red[1:]) < 15


def test_animated_files_give_their_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for kind in ("WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        red = pixel(data)
        assert red[0] > 240
        assert red[2] < 15


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    upright = gradient(64, 48)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that stores `upright` under each orientation
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
    decoded = decode(encoded(stored, kind, exif=exif, **lossless))
    assert decoded.image.size == upright.size
    assert decoded.raw.size == stored.size
    difference = np.asarray(decoded.image).astype(int) - np.asarray(upright).astype(int)
    assert np.abs(difference).max() <= 6


def test_phones_multi_picture_jpeg() -> None:
    decoded = decode(encoded(gradient(), "MPO", save_all=True, append_images=[gradient()]))
    assert decoded.format == "jpeg"
    assert decoded.image.size == (64, 48)


def test_nonsense_exif_is_ignored() -> None:
    data = encoded(gradient(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert decode(data).image.size == (64, 48)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", errors.NotAnImageError, id="empty"),
        pytest.param(b"hello", errors.NotAnImageError, id="text"),
        pytest.param(b"\0" * 5000, errors.NotAnImageError, id="zeros"),
        pytest.param(b"%PDF-1.7", errors.UnsupportedFormatError, id="pdf"),
        pytest.param(b" <svg xmlns='http://www.w3.org/2000/svg'/>", errors.UnsupportedFormatError, id="svg"),
        pytest.param(b"\0\0\0\x1cftypavif" + b"\0" * 50, errors.UnsupportedFormatError, id="avif"),
        pytest.param(encoded(gradient(), "GIF"), errors.UnsupportedFormatError, id="gif"),
        pytest.param(encoded(gradient(), "BMP"), errors.UnsupportedFormatError, id="bmp"),
        pytest.param(encoded(gradient(), "TIFF"), errors.UnsupportedFormatError, id="tiff"),
        pytest.param(encoded(gradient(), "JPEG")[:8], errors.TruncatedImageError, id="jpeg start only"),
        pytest.param(encoded(gradient(), "JPEG")[:-200], errors.TruncatedImageError, id="jpeg cut"),
        pytest.param(encoded(gradient(), "PNG")[:-60], errors.TruncatedImageError, id="png cut"),
        pytest.param(encoded(gradient(), "WEBP")[:-40], errors.ImageError, id="webp cut"),
        pytest.param(b"\xff" * (MAX_FILE_BYTES + 1), errors.FileTooLargeError, id="20 MB"),
        pytest.param(png_header(8000, 6000), errors.TooManyPixelsError, id="48 megapixels"),
        pytest.param(png_header(MAX_SIDE + 1, 10), errors.SideTooLongError, id="12,001 px"),
        pytest.param(png_header(11_000, 10_000), errors.DecompressionBombError, id="110 megapixels: a warning"),
        pytest.param(png_header(60_000, 60_000), errors.DecompressionBombError, id="3,600 megapixels: an error"),
    ],
)
def test_refusals(data: bytes, error: type[errors.ImageError]) -> None:
    with pytest.raises(error) as caught:
        decode(data)
    assert str(caught.value)
    assert errors.from_wire(caught.value.to_wire()) is not None


def test_a_name_is_no_format() -> None:
    """Files are told by their bytes: a PNG saved as .jpg is a PNG."""
    assert decode(encoded(gradient(), "PNG")).format == "png"


def test_random_damage_only_raises_image_errors() -> None:
    rng = np.random.default_rng(7)
    originals = [path.read_bytes() for path in SAMPLES if path.stat().st_size < 40_000]
    for round_ in range(150):
        data = bytearray(originals[round_ % len(originals)])
        for position in rng.integers(0, len(data), size=20):
            data[position] = rng.integers(0, 256)
        with contextlib.suppress(errors.ImageError):
            assert decode(bytes(data)).image.mode == "RGB"


def test_large_pictures_are_made_smaller_while_they_are_decoded() -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
    large = small.resize((4000, 3000), Image.Resampling.BICUBIC)
    sizes = {(719, 900): 1, (1439, 2000): 1, (1440, 1440): 2, (4000, 3000): 4, (5760, 6000): 8}
    assert {size: reduction(*size) for size in sizes} == sizes
    for kind, options in (("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"quality": 95})):
        decoded = decode(encoded(large, kind, **options))
        assert (decoded.size, decoded.scale, decoded.image.size) == ((4000, 3000), 4, (1000, 750))
        # By a JPEG's decoder or by averaging, it is the same picture.
        expected = np.asarray(large.reduce(4), np.float32)
        assert np.abs(np.asarray(decoded.image, np.float32) - expected).mean() < 2.0
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(encoded(large, "JPEG", exif=exif))
    assert (turned.size, turned.image.size) == ((3000, 4000), (750, 1000))


def test_a_large_photo_that_is_cut_is_refused_all_the_same() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), np.uint8))
    data = encoded(noise, "JPEG", quality=80)
    with pytest.raises(errors.TruncatedImageError):
        decode(data[: len(data) // 2])
    assert decode(data[:-2]).scale == 2  # it lacks only its end mark
