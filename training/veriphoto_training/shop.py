"""What shops do to pictures, made in both classes alike so that none of it comes to mean "AI" or "real"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

Treatment = Callable[[Image.Image, np.random.Generator], Image.Image]


def treat(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Applies one treatment, drawn at random."""
    return TREATMENTS[int(rng.integers(len(TREATMENTS)))](image, rng)


def letterbox(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Bands of one light colour at two opposite sides, as of a picture fitted into a square."""
    band = int(min(image.size) * rng.uniform(0.08, 0.35))
    page = Image.new("RGB", image.size, _paper(rng))
    if rng.random() < 0.5:
        box = (0, band, image.width, image.height - band)
    else:
        box = (band, 0, image.width - band, image.height)
    page.paste(image.crop(box), box[:2])
    return page


def cut_out(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The middle on a plain light background, with the edge of a careful or a careless mask."""
    width, height = image.size
    mask = Image.new("L", image.size, 0)
    x, y = rng.uniform(0.35, 0.65, 2)
    rx, ry = rng.uniform(0.3, 0.5, 2)
    box = ((x - rx) * width, (y - ry) * height, (x + rx) * width, (y + ry) * height)
    draw = ImageDraw.Draw(mask)
    if rng.random() < 0.5:
        draw.ellipse(box, fill=255)
    else:
        draw.rounded_rectangle(box, radius=float(rng.uniform(1, 0.2 * min(width, height))), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 6.0))))
    return Image.composite(image, Image.new("RGB", image.size, _paper(rng)), mask)


def banner(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A strip or badge of one colour with text on it."""
    width, height = image.size
    out = image.copy()
    draw = ImageDraw.Draw(out)
    tall, wide = int(height * rng.uniform(0.08, 0.25)), int(width * rng.uniform(0.4, 1.0))
    left, top = int(rng.integers(0, width - wide + 1)), int(rng.integers(0, height - tall + 1))
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    draw.rectangle((left, top, left + wide, top + tall), fill=colour)
    ink = "white" if sum(colour) < 384 else "black"
    text = "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVW 0123456789%-")) for _ in range(int(rng.integers(4, 16))))
    draw.text((left + 3, top + tall * 0.15), text, fill=ink, font_size=max(8.0, tall * 0.6))
    return out


def collage(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Two parts of the picture side by side with a line between, as in before-and-after pictures."""
    width, height = image.size
    at = int(width * rng.uniform(0.3, 0.7))
    line = int(rng.integers(0, 6))
    page = Image.new("RGB", image.size, _paper(rng))
    other = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if rng.random() < 0.3 else image
    page.paste(other.crop((width - at, 0, width, height)), (0, 0))
    page.paste(image.crop((0, 0, width - at - line, height)), (at + line, 0))
    return page


def retouch(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Colour, contrast and sharpness of an eager editor."""
    for enhancer, spread in ((ImageEnhance.Color, 0.5), (ImageEnhance.Contrast, 0.3), (ImageEnhance.Brightness, 0.25)):
        image = enhancer(image).enhance(float(1.0 + rng.uniform(-spread, spread)))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.UnsharpMask(float(rng.uniform(0.8, 2.5)), int(rng.integers(30, 160)), 1))
    return image


def night_mode(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The smoothed, then sharpened look of a phone's denoiser."""
    smooth = image.filter(ImageFilter.MedianFilter(3))
    image = Image.blend(image, smooth, float(rng.uniform(0.4, 1.0)))
    image = image.filter(ImageFilter.UnsharpMask(float(rng.uniform(1.0, 2.0)), int(rng.integers(50, 180)), 2))
    return ImageEnhance.Brightness(image).enhance(float(rng.uniform(0.7, 1.3)))


def _paper(rng: np.random.Generator) -> tuple[int, int, int]:
    if rng.random() < 0.6:
        return (255, 255, 255)
    grey = rng.integers(225, 256, 3)
    return (int(grey[0]), int(grey[1]), int(grey[2]))


TREATMENTS: Final[tuple[Treatment, ...]] = (letterbox, cut_out, banner, collage, retouch, night_mode)
