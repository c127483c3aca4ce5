"""Every PNG colour type x bit depth x transparency x interlacing, against the numbers it was made of and OpenCV."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from benchmarks.odd_files import CHANNELS, DEPTHS, chunk, png_of

from veriphoto.decoding import decode

SIZE = (13, 11)  # all seven passes of an interlaced picture, and rows that end within a byte
KINDS = [
    (colour, depth, clear, interlace)
    for colour, depths in DEPTHS.items()
    for depth, clear, interlace in itertools.product(depths, (False, True), (False, True))
    if not (clear and colour in (4, 6))  # they have alpha anyway
]


def made(colour: int, depth: int, clear: bool, interlace: bool) -> tuple[bytes, np.ndarray]:
    """A PNG and the RGB picture that it shows."""
    rng = np.random.default_rng(colour * 100 + depth)
    values = rng.integers(0, 1 << depth, (SIZE[1], SIZE[0], CHANNELS[colour]))
    key = values[2, 3].copy()
    values[5:8, 4:9] = key
    if depth == 16:
        values[0, 0], values[0, 1] = key, key ^ 1  # the same high byte, and not the key
    extra = b""
    alpha = np.full(values.shape[:2], 255.0)
    if colour == 3:
        palette = rng.integers(0, 256, (1 << depth, 3))
        shown = palette[values[..., 0]]
        extra += chunk(b"PLTE", palette.astype(np.uint8).tobytes())
        if clear:
            alphas = rng.integers(0, 256, 1 << depth)
            alpha = alphas[values[..., 0]].astype(float)
            extra += chunk(b"tRNS", alphas.astype(np.uint8).tobytes())
    else:
        eight = values >> 8 if depth == 16 else values * (255 // ((1 << depth) - 1))
        shown = np.repeat(eight[..., :1], 3, axis=2) if colour in (0, 4) else eight[..., :3]
        if colour in (4, 6):
            alpha = eight[..., -1].astype(float)
        elif clear:
            alpha = np.where((values == key).all(axis=2), 0.0, 255.0)
            extra += chunk(b"tRNS", key.astype(">u2").tobytes())
    share = alpha[..., None] / 255
    return png_of(values, depth, colour, interlace=interlace, extra=extra), shown * share + 255 * (1 - share)


@pytest.mark.parametrize(("colour", "depth", "clear", "interlace"), KINDS)
def test_a_png_shows_what_it_holds(colour, depth, clear, interlace):
    data, expected = made(colour, depth, clear, interlace)
    found = np.asarray(decode(data).image)
    partial = colour in (3, 4, 6)  # Pillow rounds what is half transparent by its own rule
    np.testing.assert_allclose(found, expected, atol=1 if partial else 0)


@pytest.mark.parametrize(("colour", "depth", "interlace"), sorted({(c, d, i) for c, d, clear, i in KINDS if not clear}))
def test_opencv_sees_the_same_colours(colour, depth, interlace):
    data, _ = made(colour, depth, False, interlace)
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    theirs = (theirs >> 8).astype(float) if theirs.dtype == np.uint16 else theirs.astype(float)
    theirs = np.repeat(theirs[..., None], 3, axis=2) if theirs.ndim == 2 else theirs
    if theirs.shape[2] == 4:
        share = theirs[..., 3:] / 255
        theirs = theirs[..., :3] * share + 255 * (1 - share)
    np.testing.assert_allclose(np.asarray(decode(data).image), theirs[..., ::-1], atol=1)
