"""The one chain that every training picture of either class goes through.

Data sets differ between the classes in format, size, quality and history, and a network learns those before it learns
generators. So whatever a picture was, what the network sees has had a JPEG generation, a random rescale, a last
encoding of random kind and quality, and a crop off the 8 x 8 grid, all drawn without looking at the label or the size.

The geometry is serving's: squares between a half and the whole of the shorter side, brought to the network's size only
after the last encoding.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from veriphoto.decoding import decode
from veriphoto_training.augment.colours import Tint, as_it_is, draw_tint
from veriphoto_training.recipes import Recipe

Pixels = npt.NDArray[np.uint8]

_MARGIN: Final = 16
"""Pixels around a square that are encoded with it and cut off after, so that block borders fall anywhere."""
_SHARES: Final = (0.5, 1.0)
"""Side of a square as a share of the picture's shorter side."""
_WHOLE: Final = 0.7
"""Share of squares that are nearly whole pictures, as serving's is."""
_ENCODED: Final = (0.75, 1.9)
"""Side of a square when it is encoded last, in training crops; drawn whatever the picture's size, or it would show."""
_CLEAN: Final = (60, 99)
"""Quality of the clean view's last encoding."""
_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)


@dataclass(frozen=True, slots=True)
class Chain:
    """The alignment chain with its settings.

    Attributes:
        crop_size: Side of the crops.
        two_views: Whether ``__call__`` also makes the degraded view.
        colour_share: Share of pictures whose colours are drawn anew, the same for both views.
    """

    crop_size: int
    two_views: bool
    colour_share: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The chain of a recipe."""
        return cls(recipe.crop_size, recipe.two_views, recipe.colour_share)

    def __call__(self, data: bytes, rng: np.random.Generator) -> tuple[Pixels, ...]:
        """Makes the views of one picture.

        Args:
            data: The picture's encoded bytes.
            rng: Source of all random draws.

        Returns:
            The clean view, and the degraded one with ``two_views``; uint8 [S, S, 3].
        """
        square, side, tint = self._drawn(data, rng)
        views = [self._view(tint(_scaled(square, side, rng)), rng, _CLEAN)]
        if self.two_views:
            smaller = max(self.crop_size // 2, round(side * float(rng.uniform(0.45, 1.0))))
            views.append(self._view(spoil(tint(_scaled(square, smaller, rng)), rng), rng, quality=(30, 85)))
        return tuple(views)

    def last_file(self, data: bytes, rng: np.random.Generator) -> bytes | None:
        """Returns the file that the clean view is decoded from, with the draws of ``__call__``.

        Args:
            data: The picture's encoded bytes.
            rng: Source of all random draws.

        Returns:
            The file; None where the view was not encoded last.
        """
        square, side, tint = self._drawn(data, rng)
        return last_encoding(tint(_scaled(square, side, rng)), rng, _CLEAN)

    def _drawn(self, data: bytes, rng: np.random.Generator) -> tuple[Image.Image, int, Tint]:
        """Draws a square of the picture, its side when it is encoded last, and its colours."""
        decoded = decode(data)
        image = decoded.image
        if decoded.format == "png":  # no JPEG generation yet, which every camera picture has
            image = opened(encode(image, "JPEG", int(rng.integers(75, 99)), rng))
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        square = _square(image, rng)
        side = round(self.crop_size * float(rng.uniform(*_ENCODED)))
        return square, side, draw_tint(rng) if rng.random() < self.colour_share else as_it_is

    def _view(self, region: Image.Image, rng: np.random.Generator, quality: tuple[int, int]) -> Pixels:
        side = region.width - _MARGIN
        file = last_encoding(region, rng, quality)
        encoded = region if file is None else opened(file)
        left, top = (int(value) for value in rng.integers(0, _MARGIN + 1, 2))
        square = encoded.crop((left, top, left + side, top + side))
        return np.asarray(square.resize((self.crop_size, self.crop_size), Image.Resampling.BICUBIC))


def spoil(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Degrades a picture: randomly by blur, noise, or a smaller size and back."""
    choice = rng.random()
    if choice < 0.15:
        return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.4))))
    if choice < 0.35:
        noisy = np.asarray(image, np.float32) + rng.standard_normal((*image.size[::-1], 3), np.float32) * rng.uniform(
            1, 8
        )
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    if choice < 0.5:
        width, height = image.size
        factor = float(rng.uniform(0.5, 0.9))
        return image.resize((round(width * factor), round(height * factor)), _pick(rng)).resize(image.size, _pick(rng))
    return image


def last_encoding(image: Image.Image, rng: np.random.Generator, quality: tuple[int, int]) -> bytes | None:
    """Encodes as a shop's upload would: mostly JPEG, sometimes WebP, sometimes not at all, which is None."""
    choice = rng.random()
    value = int(rng.integers(*quality))
    if choice >= 0.9:
        return None
    return encode(image, "JPEG" if choice < 0.78 else "WEBP", value, rng)


def encode(image: Image.Image, kind: str, quality: int, rng: np.random.Generator) -> bytes:
    """Encodes a picture as ``JPEG`` or ``WEBP``; chroma subsampling of a JPEG is drawn at random."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        image.save(buffer, "JPEG", quality=quality, subsampling=2 if rng.random() < 0.7 else 0)
    else:
        image.save(buffer, kind, quality=quality, method=0)
    return buffer.getvalue()


def opened(file: bytes) -> Image.Image:
    """Decodes a file of our own making, mode RGB."""
    return Image.open(io.BytesIO(file)).convert("RGB")


def whole(data: bytes, size: int, rng: np.random.Generator) -> tuple[Pixels, ...]:
    """The chain of ``whole_picture`` recipes: the enlarged picture, flipped and shifted a little."""
    image = decode(data).image
    shift = round(size * 0.08)
    image = image.resize((size + shift, size + shift), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left, top = (int(value) for value in rng.integers(0, shift + 1, 2))
    return (np.asarray(image.crop((left, top, left + size, top + size))),)


def _square(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = float(rng.uniform(0.85, 1.0) if rng.random() < _WHOLE else rng.uniform(*_SHARES))
    side = max(1, round(min(image.size) * share))
    left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def _scaled(square: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    return square.resize((side + _MARGIN, side + _MARGIN), _pick(rng))


def _pick(rng: np.random.Generator) -> Image.Resampling:
    return _FILTERS[int(rng.integers(len(_FILTERS)))]
