"""The three ways in which a picture reaches the detector, as encoded bytes."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image

from veriphoto.decoding import decode

DELIVERIES: Final[dict[str, tuple[int, int] | None]] = {"clean": None, "web": (768, 60), "hard": (512, 40)}
"""Name to longest side and JPEG quality; None leaves the bytes alone."""

ENDS: Final = ("clean", "hard")
"""What holds for these two holds for what lies between."""


def deliver(data: bytes, name: str) -> bytes:
    """Degrades a file as a delivery does.

    Args:
        data: The original bytes.
        name: A key of ``DELIVERIES``.

    Returns:
        The bytes that arrive.
    """
    rule = DELIVERIES[name]
    if rule is None:
        return data
    return reencode(data, *rule)


def reencode(data: bytes, longest: int | None, quality: int) -> bytes:
    """Downscales to a longest side, where given, and saves as JPEG."""
    image = decode(data).image
    if longest is not None and max(image.size) > longest:
        scale = longest / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
