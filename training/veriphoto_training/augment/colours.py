"""Light, white balance and saturation drawn anew, in both classes, so that no look comes to mean "AI" or "real"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance

Tint = Callable[[Image.Image], Image.Image]

_LEVELS: Final = np.arange(256) / 255.0
_LIGHT: Final = (0.8, 1.2)
_BALANCE: Final = (0.92, 1.08)
_GAMMA: Final = (0.75, 1.35)
_CONTRAST: Final = (0.75, 1.25)
_SATURATION: Final = (0.3, 1.6)
_GREY: Final = 0.12
"""Share of the tints that leave no colour at all."""


def draw_tint(rng: np.random.Generator) -> Tint:
    """Draws the colours of one picture.

    Args:
        rng: Decides everything that is random.

    Returns:
        A function from an RGB picture to the same picture in those colours, for each of the picture's views.
    """
    gains = rng.uniform(*_LIGHT) * rng.uniform(*_BALANCE, 3)
    gamma, contrast = rng.uniform(*_GAMMA), rng.uniform(*_CONTRAST)
    curves = (np.minimum(_LEVELS * gains[:, np.newaxis], 1.0) ** gamma - 0.5) * contrast + 0.5
    table = np.rint(255.0 * curves.clip(0.0, 1.0)).astype(int).ravel().tolist()
    saturation = 0.0 if rng.random() < _GREY else float(rng.uniform(*_SATURATION))
    return lambda image: ImageEnhance.Color(image.point(table)).enhance(saturation)


def as_it_is(image: Image.Image) -> Image.Image:
    """The tint that changes nothing."""
    return image
