"""Work out of proportion is refused in milliseconds, metadata costs no picture, and words say what is wrong."""

from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from benchmarks.odd_files import BOMBS, COSTLY, chunk, encoded, scans, segment
from pace import quickest, slowness
from PIL import Image

from veriphoto import errors
from veriphoto.decoding import decode
from veriphoto.headers import read

SAMPLE = (Path(__file__).parents[3] / "samples" / "ai_peaches.jpg").read_bytes()
PICTURE = Image.effect_noise((320, 256), 60).convert("RGB")
JPEG = encoded(PICTURE, "JPEG", quality=85)
PNG = encoded(PICTURE, "PNG")
WEBP = encoded(PICTURE, "WEBP", quality=60)
MEASURED = 0.25
"""Seconds of CPU: a hundred times what a refusal takes on a quiet machine is less than the cheapest of these bombs."""


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data).image)


@pytest.mark.parametrize("name", BOMBS)
def test_work_out_of_proportion_is_refused_at_once(name):
    data = BOMBS[name]()

    def refused() -> errors.TooCostlyError:
        with pytest.raises(errors.TooCostlyError) as caught:
            decode(data)
        return caught.value

    assert quickest(refused) < MEASURED * slowness()
    error = refused()
    assert "send" in error.message
    assert errors.from_wire(error.to_wire()) is not None


def test_many_scans_of_a_small_picture_are_scored():
    assert pixels(scans(640, 480, 100)).shape == (480, 640, 3)


@pytest.mark.parametrize("name", COSTLY)
def test_ordinary_work_is_done(name):
    data = COSTLY[name]()
    header, decoded = read(data), decode(data)
    assert decoded.size == (header.width, header.height)
    assert decoded.image.size == tuple(-(-length // decoded.scale) for length in decoded.size)


ICC = b"ICC_PROFILE\0\1\1" + bytes(60_000)
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(256)) * 100
JPEG_FLAWS = {
    "empty JFIF": segment(0xE0, b"JFIF\0"),
    "JFIF of 9 bytes": segment(0xE0, b"JFIF\0\1\1\0\0"),
    "empty Adobe": segment(0xEE, b"Adobe"),
    "empty MPF": segment(0xE2, b"MPF\0"),
    "cut MPF": segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\xff"),
    "cut Photoshop": segment(0xED, b"Photoshop 3.0\0008BIM\x03\xed\0\0\0\0\0\x10"),
    "cut EXIF": segment(0xE1, EXIF[:20]),
    "EXIF of nonsense": segment(0xE1, EXIF),
    "XMP of nonsense": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"\xff\0<" * 999),
    "profile without an end": segment(0xE2, ICC) * 30,
    "length of nothing": b"\xff\xe5\0\0",
    "filling": b"\xff" * 900,
    "junk": b"junk between segments",
}
PNG_FLAWS = {
    "text, wrong checksum": chunk(b"tEXt", b"a\0b")[:-1] + b"!",
    "text of 2 MB": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(2_000_000))),
    "text that is no zlib": chunk(b"zTXt", b"workflow\0\0nonsense"),
    "text of no keyword": chunk(b"tEXt", b""),
    "profile of 2 MB": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2_000_000))),
    "profile that is no zlib": chunk(b"iCCP", b"p\0\0nonsense"),
    "short gAMA": chunk(b"gAMA", b"\0"),
    "short cHRM": chunk(b"cHRM", b"\0" * 5),
    "short pHYs": chunk(b"pHYs", b"\0"),
    "short sRGB": chunk(b"sRGB", b""),
    "short eXIf": chunk(b"eXIf", b"MM"),
    "hexadecimal EXIF": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n   5\nzz"),
    "short acTL": chunk(b"acTL", b"\0"),
    "acTL of nothing": chunk(b"acTL", bytes(8)),
    "fcTL before its acTL": chunk(b"fcTL", bytes(26)),
    "private chunk": chunk(b"vpAg", b"x" * 70_000),
    "unknown critical chunk": chunk(b"VpAg", b"x"),
}
WEBP_FLAWS = {"EXIF of nonsense": (b"EXIF", EXIF), "XMP": (b"XMP ", b"\xff" * 100), "ICCP": (b"ICCP", b"no profile")}


@pytest.mark.parametrize("name", JPEG_FLAWS)
@pytest.mark.parametrize("data", [JPEG, SAMPLE], ids=["made", "sample"])
def test_metadata_costs_no_jpeg(name, data):
    at = 4 + int.from_bytes(data[4:6], "big")  # behind the first segment
    np.testing.assert_array_equal(pixels(data[:at] + JPEG_FLAWS[name] + data[at:]), pixels(data))


@pytest.mark.parametrize("name", PNG_FLAWS)
@pytest.mark.parametrize("behind", [False, True])
def test_metadata_costs_no_png(name, behind):
    at = PNG.index(b"IEND") - 4 if behind else 33
    np.testing.assert_array_equal(pixels(PNG[:at] + PNG_FLAWS[name] + PNG[at:]), pixels(PNG))


@pytest.mark.parametrize("name", WEBP_FLAWS)
@pytest.mark.parametrize("size", ["right", "wrong"])
def test_metadata_costs_no_webp(name, size):
    kind, body = WEBP_FLAWS[name]
    canvas = struct.pack("<4sIB3x", b"VP8X", 10, 0x2C) + (319).to_bytes(3, "little") + (255).to_bytes(3, "little")
    parts = canvas + WEBP[12:] + kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    length = len(parts) + 4 if size == "right" else 7
    np.testing.assert_array_equal(pixels(b"RIFF" + struct.pack("<I", length) + b"WEBP" + parts), pixels(WEBP))


ENDLESS = {
    "baseline": JPEG,
    "optimised": encoded(PICTURE, "JPEG", optimize=True),
    "progressive": encoded(PICTURE, "JPEG", progressive=True),
    "grey": encoded(PICTURE.convert("L"), "JPEG"),
    "restarts": encoded(PICTURE, "JPEG", restart_marker_blocks=4),
    "flat": encoded(Image.new("RGB", (320, 256), (128, 128, 128)), "JPEG"),
    "sample": SAMPLE,
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_mark_is_scored(name, lost):
    np.testing.assert_array_equal(pixels(ENDLESS[name][:-lost]), pixels(ENDLESS[name]))


@pytest.mark.parametrize("name", ENDLESS)
def test_a_jpeg_that_is_really_cut_is_refused(name):
    if name == "flat":
        pytest.skip("what is missing of a flat picture cannot be told from what is there")
    data = ENDLESS[name]
    for share in (0.3, 0.5, 0.7, 0.9, 0.97):
        with pytest.raises(errors.TruncatedImageError, match="send the whole file"):
            decode(data[: int(share * len(data))])


def frame(code: int, bits: int = 8, channels: int = 3, height: int = 48) -> bytes:
    body = struct.pack(">BHHB", bits, height, 64, channels) + b"".join(bytes((i, 0x11, 0)) for i in range(channels))
    return b"\xff\xd8" + segment(code, body) + JPEG[JPEG.index(b"\xff\xda") :]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"RIFF\x24\0\0\0AVI LIST" + bytes(50), "AVI"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(50), "WAV"),
        (frame(0xF7), "JPEG-LS"),
        (frame(0xC3), "lossless JPEG"),
        (frame(0xC9), "arithmetic coding"),
        (frame(0xCA), "arithmetic coding"),
        (frame(0xC5), "hierarchical JPEG"),
        (frame(0xC1, bits=12), "12 bits a channel"),
        (frame(0xC0, channels=2), "2 colour channels"),
        (frame(0xC0, height=0), "DNL"),
        (PNG[:8] + chunk(b"CgBI", bytes(4)) + PNG[8:], "CgBI"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + bytes(100), "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(100), "QuickTime"),
        (b"GIF89a" + bytes(50), "GIF"),
        (encoded(PICTURE, "TIFF"), "TIFF"),
        (encoded(PICTURE, "BMP"), "BMP"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "JPEG XL"),
    ],
)
def test_what_is_not_supported_is_called_by_its_name(data, said):
    with pytest.raises(
        errors.UnsupportedFormatError, match="not supported; send JPEG, PNG, WebP, HEIC or AVIF"
    ) as caught:
        decode(data)
    assert said in caught.value.message
    assert "whole file" not in caught.value.message


@pytest.mark.parametrize(("order", "kind", "value"), list(itertools.product("<>", (3, 4), range(10))))
def test_orientation_in_either_byte_order(order, kind, value):
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    number = struct.pack(order + ("H2x" if kind == 3 else "I"), value)
    block = start + struct.pack(order + "HHHI", 1, 0x0112, kind, 1) + number + bytes(4)
    data = JPEG[:2] + segment(0xE1, b"Exif\0\0" + block) + JPEG[2:]
    assert decode(data).image.size == ((256, 320) if 5 <= value <= 8 else (320, 256))


def test_orientation_of_xmp_counts_where_exif_has_none():
    packet = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf tiff:Orientation="6"/></x:xmpmeta>'
    assert decode(JPEG[:2] + segment(0xE1, packet) + JPEG[2:]).image.size == (256, 320)
