"""Cuts a photo as its row of a list says: the column ``how`` of ``training/photo_sources.csv``.

A native crop leaves the pixels of a large photo as they are; a whole photo is made small. Where the column names no
cut, a photo keeps its bytes: its compression is evidence, too.
"""

from __future__ import annotations

import importlib.util
import io
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from veriphoto.decoding import decode
from veriphoto.errors import DataError, MissingExtraError, UnsupportedFormatError
from veriphoto.headers import read as read_header

_SIDE: Final = 448
_BLOCK: Final = 8
_SAVED: Final = r"(?:, alpha on white)?, JPEG q(?P<quality>[1-9]\d?)(?P<full> 4:4:4)?"
_WHOLE: Final = re.compile(
    r"(?:JPEG |PNG |WEBP |whole picture,? )?"
    r"(?P<size>scaled .*|not scaled|flattened on white|EXIF orientation applied, not scaled)" + _SAVED
)
_CROP: Final = re.compile(r"native (?:central crop 448x448|crop of [A-Z]+)" + _SAVED)
_LOSSLESS: Final = re.compile(r"lossless native crop of JPEG.*|native central crop 448x448, lossless \(jpegtran\)")
_EDGES: Final = re.compile(r"edges cut \[(0?\.?\d+), (0?\.?\d+), (0?\.?\d+), (0?\.?\d+)\]")
_CELL: Final = re.compile(r"cell \[(\d{1,5}), (\d{1,5}), (\d{1,5}), (\d{1,5})\] of grid")
_LOST: Final = re.compile(r"after lossless rotation|cell \d+ of grid")

_Box = tuple[int, int, int, int]
_Plane = npt.NDArray[np.int16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How the file of a data set is made of the original."""

    kind: Literal["original", "whole", "crop", "lossless"]
    scaled: bool = False
    quality: int = 0
    full_chroma: bool = False
    edges: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    """Shares of width and height left off first: left, top, right, bottom."""
    cell: tuple[int, ...] = ()
    """The photo's place in a sheet of several: left, top, width, height."""
    grain: int = 0
    """A lossless crop starts at multiples of it; 0 stands for the file's own unit of compression."""

    @property
    def letter(self) -> str:
        """What a file's name says of its cut: ``o`` original, ``c`` native crop, ``d`` whole."""
        return {"original": "o", "whole": "d"}.get(self.kind, "c")


def parse(how: str) -> Cut:
    """Reads the cut that a row's ``how`` begins with; clauses follow after semicolons.

    Raises:
        DataError: If the words do not say enough to cut the photo again.
    """
    if _LOST.search(how):
        raise DataError(f"the list does not say where the photo was cut: {how!r}")
    head = how.split(";", maxsplit=1)[0].strip()
    edges, cell = _EDGES.search(how), _CELL.search(how)
    common: dict[str, Any] = {
        "edges": tuple(map(float, edges.groups())) if edges else (0.0, 0.0, 0.0, 0.0),
        "cell": tuple(map(int, cell.groups())) if cell else (),
    }
    if _LOSSLESS.fullmatch(head):
        return Cut(kind="lossless", grain=16 if head.startswith("lossless") else 0, **common)
    whole, crop = _WHOLE.fullmatch(head), _CROP.fullmatch(head)
    found = whole or crop
    if found is None:
        return Cut(kind="original")
    return Cut(
        kind="whole" if whole else "crop",
        scaled=whole is not None and whole["size"].startswith("scaled"),
        quality=int(found["quality"]),
        full_chroma=found["full"] is not None,
        **common,
    )


def apply(cut: Cut, data: bytes) -> bytes:
    """Makes the file of a data set; ``require_tools`` says whether it can.

    Args:
        cut: How.
        data: The original's bytes.

    Raises:
        ImageError: If the original is no picture that a model would be given.
    """
    header = read_header(data)
    if cut.kind == "original":
        return data
    decode(data)  # the limits of every other upload: what follows trusts the file
    with Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP"]) as opened:
        if cut.kind == "lossless":
            if header.format != "jpeg":
                raise UnsupportedFormatError(f"a lossless crop is made of a JPEG, not of {header.format}")
            return _lossless(cut, data, _frame(cut, *opened.size), getattr(opened, "layer", []))
        image = _rgb(ImageOps.exif_transpose(opened))
    image = image.crop(_frame(cut, *image.size))
    if cut.kind == "crop":
        image = image.crop(_middle(image.size))
    elif cut.scaled and max(image.size) > _SIDE:
        scale = _SIDE / max(image.size)
        image = image.resize((_scaled(image.width, scale), _scaled(image.height, scale)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=cut.quality, subsampling=0 if cut.full_chroma else -1)
    return buffer.getvalue()


def _scaled(side: int, scale: float) -> int:
    return max(1, round(side * scale))


def _rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


def _frame(cut: Cut, width: int, height: int) -> _Box:
    """The part of the file that is the photo: a cell of a sheet, without edges."""
    left, top, wide, high = cut.cell or (0, 0, width, height)
    shares = cut.edges
    box = (
        left + int(wide * shares[0]),
        top + int(high * shares[1]),
        left + int(wide * (1 - shares[2])),
        top + int(high * (1 - shares[3])),
    )
    if not (0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height):
        raise UnsupportedFormatError(f"the list cuts {box} out of a picture of {width} x {height} pixels")
    return box


def _middle(size: tuple[int, int]) -> _Box:
    width, height = size
    wide, high = min(_SIDE, width), min(_SIDE, height)
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def require_tools(cuts: Iterable[Cut]) -> None:
    """Checks, before anything is fetched, that these cuts can be made.

    Raises:
        MissingExtraError: If a lossless crop is asked for without jpeglib.
    """
    if any(cut.kind == "lossless" for cut in cuts) and importlib.util.find_spec("jpeglib") is None:
        raise MissingExtraError("data", "jpeglib")


def _lossless(cut: Cut, data: bytes, frame: _Box, layers: list[tuple[int, int, int, int]]) -> bytes:
    """Takes whole blocks of coefficients out of a JPEG, as jpegtran does; nothing is decoded and encoded again."""
    import jpeglib  # noqa: PLC0415 - of an extra

    across, down = max(layer[1] for layer in layers), max(layer[2] for layer in layers)
    left, top, right, bottom = _middle((frame[2] - frame[0], frame[3] - frame[1]))
    # Also on the unit of compression where a coarser grain is named: 4:4:0 and the like have odd units.
    left, top = (
        (start + offset) // (cut.grain or _BLOCK * factor) * (cut.grain or _BLOCK * factor)
        for start, offset, factor in ((frame[0], left, across), (frame[1], top, down))
    )
    width, height = min(_SIDE, right), min(_SIDE, bottom)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jpg"), Path(folder, "out.jpg")
        source.write_bytes(data)
        image = jpeglib.read_dct(str(source))

        def part(plane: _Plane, layer: tuple[int, int, int, int]) -> _Plane:
            wide, high = _BLOCK * across // layer[1], _BLOCK * down // layer[2]  # pixels of the photo in a block
            rows = slice(top // high, -(-(top + height) // high))
            columns = slice(left // wide, -(-(left + width) // wide))
            return np.ascontiguousarray(plane[rows, columns])

        planes = [image.Y, image.Cb, image.Cr] if image.has_chrominance else [image.Y]
        parts = [part(plane, layer) for plane, layer in zip(planes, layers, strict=False)]
        cropped = jpeglib.from_dct(*parts, qt=image.qt, quant_tbl_no=image.quant_tbl_no)
        cropped.width, cropped.height = width, height
        cropped.write_dct(str(target))
        return target.read_bytes()
