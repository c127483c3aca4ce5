"""Image bytes -> crops and statistics: the only implementation, for training evaluation and for Triton alike.

One square is cut: the whole of the picture (its shorter side, in the middle), brought to the size of the network. A
second square at native resolution costs as much again and tells no better (docs/experiments.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriphoto.contract import CONTRACT, FORMATS
from veriphoto.decoding import Decoded, decode
from veriphoto.headers import Header
from veriphoto.statistics import measure

_REDUCING_GAP: Final = 1.0
"""Large squares are averaged down by a whole number first, and filtered the rest: a third of the cost."""


@dataclass(frozen=True, slots=True)
class Box:
    """A square of the upright picture, in pixels of its file."""

    left: int
    top: int
    side: int


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """What the classifier and the verdict need of a picture."""

    crops: npt.NDArray[np.uint8]
    """UINT8 [K, S, S, 3], RGB."""
    statistics: npt.NDArray[np.float32]
    """FP32 [n], in the order of ``Contract.statistics``."""
    boxes: tuple[Box, ...]
    """Where each crop lies."""


def preprocess(data: bytes, header: Header | None = None) -> Preprocessed:
    """Prepares one uploaded file.

    Args:
        data: The bytes of a JPEG, PNG, WebP, HEIC or AVIF file.
        header: What ``decoding.examine`` said of it, if it was asked already.

    Returns:
        Its crops, statistics and crop places. The same bytes give the same arrays everywhere.

    Raises:
        ImageError: If the picture cannot be scored; the leaf says why.
    """
    decoded = decode(data, header)
    boxes = crop_boxes(*decoded.size)
    crops = np.stack([_cut(decoded.image, _scaled(box, decoded)) for box in boxes])
    return Preprocessed(crops, _statistics(decoded, len(data)), boxes)


def crop_boxes(width: int, height: int) -> tuple[Box, ...]:
    """Places the K crops of a picture.

    Args:
        width: Width of the upright picture in pixels.
        height: Its height.

    Returns:
        K squares inside the picture.
    """
    side = min(width, height)
    # The product is in the middle of a product photo, and the outermost border is often empty.
    return (Box(round((width - side) / 2), round((height - side) / 2), side),)


def _scaled(box: Box, decoded: Decoded) -> Box:
    """Finds a square of the file's picture in the decoded one."""
    if decoded.scale == 1:
        return box
    side = min(round(box.side / decoded.scale), *decoded.image.size)
    left, top = (
        min(round(place / decoded.scale), length - side)
        for place, length in zip((box.left, box.top), decoded.image.size, strict=True)
    )
    return Box(left, top, side)


def _cut(image: Image.Image, box: Box) -> npt.NDArray[np.uint8]:
    size = (CONTRACT.crop_size, CONTRACT.crop_size)
    corners = (box.left, box.top, box.left + box.side, box.top + box.side)
    if box.side == CONTRACT.crop_size:
        return np.asarray(image.crop(corners))
    factor = int(box.side / CONTRACT.crop_size / _REDUCING_GAP)
    if factor > 1:
        # What resize does with a reducing gap, without a copy of the square, which may be most of a large picture.
        part = (0.0, 0.0, box.side / factor, box.side / factor)
        return np.asarray(image.reduce(factor, corners).resize(size, Image.Resampling.BICUBIC, part))
    # Cut first: a filter that reaches over the box's edge would see what the crop does not show.
    return np.asarray(image.crop(corners).resize(size, Image.Resampling.BICUBIC))


def _statistics(decoded: Decoded, size: int) -> npt.NDArray[np.float32]:
    width, height = decoded.size
    measured = measure(decoded.raw, decoded.quantization, reduced=decoded.scale > 1)
    known = {"width": width, "height": height, "bytes": size, "format": FORMATS.index(decoded.format), **measured}
    return np.array([known[name] for name in CONTRACT.statistics], dtype=np.float32)
