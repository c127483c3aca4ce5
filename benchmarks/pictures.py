"""The photos that every benchmark sends: JPEGs of 0.2, 1 and 12 megapixels, made once under ``var/bench/pictures``.

From real photos where a folder of them is given (resized to the size wanted), else from smooth noise with grain, which
compresses as photos do. Every picture is another file: no cache of any server can help.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from veriphoto.contract import SUFFIXES

ROOT: Final = Path(__file__).parent.parent
STORE: Final = ROOT / "var" / "bench" / "pictures"

SIZES: Final = {"0.2": (520, 384), "1": (1152, 896), "12": (4000, 3000)}
"""Megapixels -> width and height."""
QUALITY: Final = 85


def pictures(megapixels: str, count: int, photos: Path | None = None) -> list[Path]:
    """Returns files of one size, making those that are not there yet.

    Args:
        megapixels: A key of ``SIZES``.
        count: How many.
        photos: A folder of real photos to make them from, searched recursively.

    Returns:
        JPEG files; the same call gives the same files.
    """
    size = SIZES[megapixels]
    origin = "made" if photos is None else hashlib.sha256(str(photos.resolve()).encode()).hexdigest()[:8]
    folder = STORE / f"{megapixels}mp-{origin}"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05d}.jpg" for number in range(count)]
    sources = _photos(photos, count) if photos else []
    for number, file in enumerate(files):
        if not file.exists():
            image = _enlarge(sources[number % len(sources)], size, number) if sources else _noise(size, number)
            _save(image, file)
    return files


def contents(files: Sequence[Path]) -> list[bytes]:
    """Reads files into memory."""
    return [file.read_bytes() for file in files]


def _photos(folder: Path, count: int) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SystemExit(f"{folder} holds no photos")
    step = max(1, len(found) // count)
    return found[::step][:count]


def _enlarge(source: Path, size: tuple[int, int], number: int) -> Image.Image:
    with Image.open(source) as photo:
        image = photo.convert("RGB")
    width, height = image.size
    if (width > height) != (size[0] > size[1]):
        image = image.transpose(Image.Transpose.ROTATE_90)
    image = image.resize(size, Image.Resampling.LANCZOS)
    # Resized pixels lack the grain of a camera at that size, and compress too well without it.
    grain = np.random.default_rng(number).normal(0.0, 4.0, (size[1], size[0], 1)).astype(np.float32)
    return Image.fromarray((np.asarray(image, dtype=np.float32) + grain).clip(0, 255).astype(np.uint8))


def _noise(size: tuple[int, int], number: int) -> Image.Image:
    random = np.random.default_rng(number)
    coarse = random.normal(128, 40, (64, 80, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    grain = random.normal(0, 4, (size[1], size[0], 1)).astype(np.float32)
    return Image.fromarray((np.asarray(image, dtype=np.float32) + grain).clip(0, 255).astype(np.uint8))


def _save(image: Image.Image, file: Path) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    fresh = file.with_suffix(".part")
    fresh.write_bytes(buffer.getvalue())
    fresh.replace(file)
