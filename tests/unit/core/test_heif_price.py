"""What a HEIC or AVIF decoder is told, and how often, is in the price: none that is accepted takes over a second."""

from __future__ import annotations

import struct
import time

import pytest
from benchmarks.odd_files import encoded
from heif_tiles import box, grid, heic_tile
from pace import quickest, slowness
from PIL import Image

from veriphoto import errors
from veriphoto.contract import MAX_DECODE_SECONDS
from veriphoto.decoding import decode
from veriphoto.headers import read

TILE = Image.effect_noise((256, 256), 40).convert("RGB")
PLAIN = {chroma: heic_tile(TILE, chroma, deep=False, quality=60) for chroma in ("420", "422", "444")}
DEEP = heic_tile(TILE, "422", deep=True, quality=60)
MEGAPIXEL = 1_000_000


def dear(data: bytes) -> float:
    """Seconds a megapixel."""
    header = read(data)
    return header.seconds * MEGAPIXEL / (header.width * header.height)


def test_more_samples_and_more_bits_cost_more() -> None:
    assert dear(PLAIN["420"]) < dear(PLAIN["422"]) < dear(PLAIN["444"])
    assert dear(DEEP) > 1.5 * dear(PLAIN["422"])
    assert read(DEEP).pixel_bytes > read(PLAIN["422"]).pixel_bytes + 3
    fine, coarse = (encoded(TILE, "AVIF", quality=60, subsampling=name, speed=10) for name in ("4:4:4", "4:2:0"))
    assert dear(fine) > dear(coarse)


@pytest.mark.parametrize("tile", [PLAIN["420"], PLAIN["444"], DEEP], ids=["420", "444", "422 of 10 bits"])
def test_what_is_accepted_takes_no_longer_than_it_was_priced(tile: bytes) -> None:
    """The processor may be shared, and a price is one of the machine it was fitted on: a half more is let pass."""
    data = grid(tile, 4, 4)
    assert decode(data).size == (1024, 1024)
    assert quickest(lambda: decode(data), time.process_time) < 1.5 * read(data).seconds * slowness()


@pytest.mark.parametrize(("columns", "rows", "accepted"), [(23, 16, True), (24, 24, False)])
def test_phones_photos_of_24_megapixels_are_taken_and_dearer_ones_refused(
    columns: int, rows: int, accepted: bool
) -> None:
    tile = heic_tile(Image.linear_gradient("L").convert("RGB"), "420", deep=False, quality=60)
    header = read(grid(tile, columns, rows))
    assert (header.seconds < MAX_DECODE_SECONDS) is accepted
    if not accepted:
        with pytest.raises(errors.TooCostlyError):
            decode(grid(tile, columns, rows))


def test_an_item_of_many_properties_named_very_often_is_refused_at_once() -> None:
    """Each name would have looked at all of them: hours, for a file of 3 MB."""
    full, often = b"\0\0\0\0", 65_000
    properties = [box(b"ispe", full, struct.pack(">II", 512, 512))]
    owned = (struct.pack(">HB", 1, 255) + b"\2" * 255) * 9_000
    meta = box(
        b"meta",
        full,
        box(b"pitm", full, struct.pack(">H", 2)),
        box(
            b"iinf",
            full,
            struct.pack(">H", 2),
            *(
                box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), kind)
                for number, kind in ((1, b"hvc1"), (2, b"grid"))
            ),
        ),
        box(b"iref", full, box(b"dimg", struct.pack(">HH", 2, often), struct.pack(">H", 1) * often)),
        box(b"iprp", box(b"ipco", *properties), box(b"ipma", full, struct.pack(">I", 9_001), owned + b"\0\2\1\1")),
    )
    began = time.process_time()
    with pytest.raises(errors.TooCostlyError):
        decode(b"\0\0\0\x14ftypheic\0\0\0\0mif1" + meta)
    assert time.process_time() - began < 0.25 * slowness()
