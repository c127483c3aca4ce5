"""Image bytes -> crops and statistics: the only implementation, for training evaluation and for Triton alike.

Crops are cut at native resolution: a whole picture squashed to the network's size loses the traces that generators
leave. Where the shorter side is under the crop size, the largest square that fits is cut and enlarged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriphoto.contract import CONTRACT, FORMATS
from veriphoto.decoding import Decoded, decode
from veriphoto.statistics import measure

# Where crops lie, as fractions of the room that a crop leaves on each axis: the centre, then around it. The product is
# in the middle of a product photo; the outermost border is often empty.
_PLACES: Final = ((0.5, 0.5), (0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8))
assert len(_PLACES) == CONTRACT.crops


@dataclass(frozen=True, slots=True)
class Box:
    """A square of the upright picture, in its pixels."""

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


def preprocess(data: bytes) -> Preprocessed:
    """Prepares one uploaded file.

    Args:
        data: The bytes of a JPEG, PNG or WebP file.

    Returns:
        Its crops, statistics and crop places. The same bytes give the same arrays everywhere.

    Raises:
        ImageError: If the picture cannot be scored; the leaf says why.
    """
    decoded = decode(data)
    boxes = crop_boxes(*decoded.image.size)
    crops = np.stack([_cut(decoded.image, box) for box in boxes])
    return Preprocessed(crops, _statistics(decoded, len(data)), boxes)


def crop_boxes(width: int, height: int) -> tuple[Box, ...]:
    """Places the K crops of a picture.

    Args:
        width: Width of the upright picture in pixels.
        height: Its height.

    Returns:
        K squares inside the picture, of the crop size or, in smaller pictures, of the shorter side.
    """
    side = min(CONTRACT.crop_size, width, height)
    return tuple(Box(round(x * (width - side)), round(y * (height - side)), side) for x, y in _PLACES)


def _cut(image: Image.Image, box: Box) -> npt.NDArray[np.uint8]:
    crop = image.crop((box.left, box.top, box.left + box.side, box.top + box.side))
    if box.side != CONTRACT.crop_size:
        crop = crop.resize((CONTRACT.crop_size, CONTRACT.crop_size), Image.Resampling.BICUBIC)
    return np.asarray(crop)


def _statistics(decoded: Decoded, size: int) -> npt.NDArray[np.float32]:
    width, height = decoded.image.size
    measured = measure(decoded.raw, decoded.quantization)
    known = {"width": width, "height": height, "bytes": size, "format": FORMATS.index(decoded.format), **measured}
    return np.array([known[name] for name in CONTRACT.statistics], dtype=np.float32)
