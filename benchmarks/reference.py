"""The reference path: the same rules once more in the plainest words, however slow, to hold the fast path to.

Decodes with Pillow alone, copies freely, turns with Pillow's own EXIF function, cuts and resizes by one call of Pillow,
measures in double precision. Equality of the two is what lets the fast one be changed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from veriphoto import preprocessing
from veriphoto.contract import CONTRACT, FORMATS
from veriphoto.preprocessing import crop_boxes
from veriphoto.statistics import estimate_jpeg_quality


def reference(data: bytes) -> tuple[npt.NDArray[np.uint8], dict[str, float]]:
    """Prepares one sound picture.

    Args:
        data: The bytes of a JPEG, PNG or WebP file.

    Returns:
        UINT8 [K, S, S, 3] and the statistics by name.
    """
    with Image.open(io.BytesIO(data)) as image:
        stored = image.size
        scale = next((scale for scale in (8, 4, 2) if min(stored) >= 720 * scale), 1)
        image.draft(None, (stored[0] // scale, stored[1] // scale))  # a JPEG's decoder reduces it, others do not
        image.load()
        kind = FORMATS.index((image.format or "").lower().replace("mpo", "jpeg"))
        quality = estimate_jpeg_quality(getattr(image, "quantization", {}))
        raw = _rgb(image)
        if raw.size == stored and scale > 1:
            raw = raw.reduce(scale)
        try:
            orientation = image.getexif().get(0x0112, 1)
        except Exception:  # noqa: BLE001 - broken EXIF: the pixels stand as stored
            orientation = 1
    upright = raw.copy()
    upright.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(upright)
    width, height = stored if (raw.width < raw.height) == (upright.width < upright.height) else stored[::-1]
    (box,) = crop_boxes(width, height)
    side = min(round(box.side / scale), *upright.size)
    left = min(round(box.left / scale), upright.width - side)
    top = min(round(box.top / scale), upright.height - side)
    part = upright.crop((left, top, left + side, top + side))
    if side != CONTRACT.crop_size:
        size = (CONTRACT.crop_size, CONTRACT.crop_size)
        part = part.resize(size, Image.Resampling.BICUBIC, reducing_gap=preprocessing._REDUCING_GAP)
    measured = _measure(raw)
    if scale > 1:
        measured["blockiness"] = 1.0  # the encoder's grid is gone
    known = {"width": width, "height": height, "bytes": len(data), "format": kind}
    return np.array(part)[None], {**known, "jpeg_quality": quality, **measured}


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray((np.array(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        page = Image.new("RGBA", layered.size, "white")
        page.alpha_composite(layered)
        return page.convert("RGB")
    return image.convert("RGB").copy()


def _measure(image: Image.Image) -> dict[str, float]:
    pixels = np.array(image, dtype=np.float64)
    height, width = pixels.shape[:2]
    left, top = (max(0, (length - 512) // 2) // 8 * 8 for length in (width, height))
    pixels = pixels[top : top + 512, left : left + 512]
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    sharpness = 0.0
    if min(luma.shape) >= 3:
        around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
        sharpness = float(np.abs(around - 4.0 * luma[1:-1, 1:-1]).mean() / (luma.std() + 0.5))
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "saturation": float((pixels.max(axis=2) - pixels.min(axis=2)).mean()),
        "sharpness": sharpness,
        "blockiness": float(np.mean([_ratio(np.abs(np.diff(luma, axis=a)).mean(axis=1 - a)) for a in (0, 1)])),
    }


def _ratio(steps: npt.NDArray[np.float64]) -> float:
    on_grid = np.arange(len(steps)) % 8 == 7
    return float((steps[on_grid].mean() + 0.5) / (steps[~on_grid].mean() + 0.5)) if on_grid.any() else 1.0


SIDES = (None, None, 90, 224, 300, 640, 1000, 1600, 2600, 4000)
"""Longer sides that photos are brought to; None leaves one as it is."""

SAVES: Sequence[tuple[str, str, dict[str, Any]]] = (
    ("JPEG", "RGB", {"quality": 92}),
    ("JPEG", "RGB", {"quality": 75, "subsampling": 0}),
    ("JPEG", "RGB", {"quality": 60, "progressive": True}),
    ("JPEG", "L", {"quality": 85}),
    ("JPEG", "CMYK", {"quality": 90}),
    ("PNG", "RGB", {"compress_level": 1}),
    ("PNG", "RGBA", {"compress_level": 1}),
    ("PNG", "P", {"compress_level": 1}),
    ("WEBP", "RGB", {"quality": 80}),
    ("WEBP", "RGB", {"lossless": True, "quality": 10, "method": 0}),
)


def all_kinds(files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Saves photos in all sizes and formats, with every EXIF orientation, in turns.

    Args:
        files: Photos.

    Yields:
        For each photo a description and the bytes of one file; every fifth photo is its own file as it is.
    """
    for number, file in enumerate(files):
        if number % 5 == 0:
            yield f"{file.name} as it is", file.read_bytes()
            continue
        with Image.open(file) as photo:
            image = photo.convert("RGB")
        # Steps without a common divisor, so that sides, formats and orientations meet in all combinations.
        side, orientation = SIDES[number % len(SIDES)], 1 + number % 8
        kind, mode, options = SAVES[(number // 7) % len(SAVES)]
        if side is not None:
            scale = side / max(image.size)
            image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        image.convert(mode).save(buffer, kind, exif=exif, **options)
        yield f"{file.name} {image.size} {kind} {mode} {options} orientation {orientation}", buffer.getvalue()
