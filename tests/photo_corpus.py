"""Makes folders of small pictures, sound ones and ones broken in every way, for the client's tests."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from veriphoto.contract import MAX_FILE_BYTES


def picture(seed: int = 0, form: str = "JPEG", size: tuple[int, int] = (96, 80)) -> bytes:
    """A soft random picture; the seed moves its brightness, and with it the fake transport's verdict."""
    random = np.random.default_rng(seed)
    pixels = random.normal(random.uniform(20, 235), 20, (size[1] // 8, size[0] // 8, 3)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(buffer, form)
    return buffer.getvalue()


def write_broken(path: Path, kind: int) -> Path:
    """Writes one file that cannot be scored; ten kinds, by number."""
    whole = picture(kind)
    makers = (
        lambda: path.write_bytes(b""),
        lambda: path.write_text("no picture"),
        lambda: path.write_bytes(whole[: len(whole) // 2]),
        lambda: path.write_bytes(picture(kind, "PNG")[:-200]),
        lambda: path.write_bytes(b"GIF89a" + bytes(50)),
        lambda: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)),
        lambda: path.write_bytes(os.urandom(2000)),
        lambda: path.symlink_to(path.parent / "gone"),
        lambda: os.mkfifo(path),
        lambda: os.truncate(_touched(path), MAX_FILE_BYTES + 1),
    )
    makers[kind % len(makers)]()
    return path


def write_corpus(root: Path, count: int, broken: int) -> tuple[set[str], set[str]]:
    """Writes files into nested folders.

    Returns:
        The paths of the sound and of the broken ones.
    """
    sound_paths, broken_paths = set(), set()
    sound = [picture(seed, form) for seed, form in enumerate(["JPEG", "PNG", "WEBP"] * 3)]
    for number in range(count):
        folder = root / f"shop {number % 7}" / f"page-{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:04}.jpg"
        if number * broken // count != (number + 1) * broken // count:
            broken_paths.add(str(write_broken(path, len(broken_paths))))
        else:
            path.write_bytes(sound[number % len(sound)])
            sound_paths.add(str(path))
    return sound_paths, broken_paths


def _touched(path: Path) -> Path:
    path.touch()
    return path
