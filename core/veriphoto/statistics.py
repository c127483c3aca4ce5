"""Cheap measurements of a picture, for the unsure gate and for drift.

All are taken on the middle of the picture as stored, at most ``_WINDOW`` pixels a side and aligned with the 8 x 8 grid
of JPEG, so that their cost does not grow with the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

_WINDOW: Final = 512
_GRID: Final = 8
_LUMA: Final = (np.float32(0.299), np.float32(0.587), np.float32(0.114))
_EPSILON: Final = 0.5  # grey levels; keeps ratios of flat pictures finite

# Luminance table of JPEG's Annex K at quality 50, in the natural (row) order in which Pillow gives tables.
_ANNEX_K_MEAN: Final = 57.625

Luma = npt.NDArray[np.float32]
Plane = npt.NDArray[np.uint8]


def measure(
    image: Image.Image, quantization: Mapping[int, Sequence[int]], *, reduced: bool = False
) -> dict[str, float]:
    """Measures a picture.

    Args:
        image: The picture as stored, mode RGB.
        quantization: Its JPEG quantisation tables, empty where it has none.
        reduced: Whether it was made smaller while it was decoded; its grid is then gone.

    Returns:
        ``brightness`` and ``contrast`` (mean and deviation of luma, 0..255), ``saturation`` (mean of channel maximum
        minus minimum, 0..255), ``sharpness`` (mean |Laplacian| of luma over contrast), ``blockiness`` (mean luma step
        across the 8 x 8 grid over that inside it: 1 without JPEG or grid) and ``jpeg_quality`` (1..100, 0 where it is
        none).
    """
    red, green, blue = _middle(image)
    luma = _luma(red, green, blue)
    across, down = np.diff(luma, axis=1), np.diff(luma, axis=0)
    contrast = float(luma.std())
    sharpness = _laplacian(across, down) / (contrast + _EPSILON)
    return {
        "brightness": float(luma.mean()),
        "contrast": contrast,
        "saturation": _spread(red, green, blue),
        "sharpness": sharpness,
        "blockiness": 1.0 if reduced else _blockiness(across, down),
        "jpeg_quality": estimate_jpeg_quality(quantization),
    }


def estimate_jpeg_quality(quantization: Mapping[int, Sequence[int]]) -> float:
    """Estimates the IJG quality that a luminance table was made with.

    Inverts libjpeg's scaling (5000 / q below 50, 200 - 2 q above) on the table's mean, which also gives a comparable
    number for the tables of cameras and Photoshop.

    Args:
        quantization: Tables by number; number 0 is luminance.

    Returns:
        1..100, or 0 where there is no table.
    """
    table = quantization.get(0)
    if not table:
        return 0.0
    scale = 100.0 * (sum(table) / len(table)) / _ANNEX_K_MEAN
    quality = 5000.0 / scale if scale > 100.0 else 100.0 - scale / 2.0
    return float(min(max(quality, 1.0), 100.0))


def _middle(image: Image.Image) -> list[Plane]:
    width, height = image.size
    left, top = (max(0, (length - _WINDOW) // 2) // _GRID * _GRID for length in (width, height))
    box = (left, top, min(width, left + _WINDOW), min(height, top + _WINDOW))
    # Plane by plane: numpy is several times as fast on neighbours as on every third number.
    return [np.asarray(plane) for plane in image.crop(box).split()]


def _luma(red: Plane, green: Plane, blue: Plane) -> Luma:
    luma: Luma = red * _LUMA[0]
    luma += green * _LUMA[1]
    luma += blue * _LUMA[2]
    return luma


def _spread(red: Plane, green: Plane, blue: Plane) -> float:
    largest = np.maximum(np.maximum(red, green), blue)
    return float((largest - np.minimum(np.minimum(red, green), blue)).mean())


def _laplacian(across: Luma, down: Luma) -> float:
    """Takes the second difference from the first ones, which blockiness needs too."""
    if across.shape[1] < 2 or down.shape[0] < 2:
        return 0.0
    second = across[1:-1, 1:] - across[1:-1, :-1]
    second += down[1:, 1:-1]
    second -= down[:-1, 1:-1]
    return float(np.abs(second, out=second).mean())


def _blockiness(across: Luma, down: Luma) -> float:
    """Measures steps by column and by row; overwrites both arrays."""
    ratios = [_step_ratio(np.abs(steps, out=steps).mean(axis=axis)) for steps, axis in ((down, 1), (across, 0))]
    return float(np.mean(ratios))


def _step_ratio(steps: Luma) -> float:
    on_grid = np.arange(len(steps)) % _GRID == _GRID - 1
    if not on_grid.any():
        return 1.0
    return float((steps[on_grid].mean() + _EPSILON) / (steps[~on_grid].mean() + _EPSILON))
