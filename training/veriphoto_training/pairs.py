"""Paired fakes: a real photo through a generator's autoencoder, saved again as the real one was saved.

Such a fake shares content, size, quality and history with its real twin and differs by a decoder's traces alone, so it
cannot be told apart by anything else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from veriphoto.decoding import Decoded, decode
from veriphoto.errors import ImageError
from veriphoto_training.autoencoder import Autoencoder
from veriphoto_training.batches import Sampler
from veriphoto_training.data import Picture, fraction
from veriphoto_training.progress import Progress

_GRID = 8


@dataclass(frozen=True, kw_only=True)
class _Cut:
    picture: Picture
    decoded: Decoded
    image: Image.Image


def make_pairs(
    pictures: Sequence[Picture],
    autoencoder: Autoencoder,
    output: Path,
    *,
    count: int,
    side: int = 256,
    mixed_share: float = 0.4,
    progress: Progress | None = None,
) -> int:
    """Makes paired fakes of real pictures and writes them as a data set of their own.

    Args:
        pictures: Any pictures; real ones are drawn, sources by the square root of their size.
        autoencoder: The generator's.
        output: Folder for ``manifest.csv``, ``ai/`` (the fakes) and ``real/`` (their twins, cut alike).
        count: How many.
        side: Of the cut, at most; a multiple of 8.
        mixed_share: Share of fakes that are mixed with up to half of the real picture.
        progress: Shows how far it is.

    Returns:
        How many were made.
    """
    real = [picture for picture in pictures if not picture.label]
    drawn = _draw(real, count)
    rows: list[dict[str, str]] = []
    for label in ("ai", "real"):
        (output / label).mkdir(parents=True, exist_ok=True)
    for picture in drawn:
        try:
            cut = _cut(picture, side)
        except ImageError:
            continue
        mix = fraction(picture.path, "mix")
        keep = 0.5 * mix / mixed_share if mix < mixed_share else 0.0
        fake = _through(cut.image, autoencoder, keep)
        for label, image in (("ai", fake), ("real", cut.image)):
            name = f"{label}/{picture.sha256[:16]}.{'jpg' if cut.decoded.quantization else 'png'}"
            (output / name).write_bytes(_save_like(image, cut.decoded))
            row = {"path": name, "label": label, "source": f"pairs_{picture.source}", "group": picture.group}
            rows.append({**row, "generator": "taef2" if label == "ai" else ""})
        if progress is not None and len(rows) % 100 == 0:
            progress.note(f"{len(rows) // 2} of {len(drawn)} pairs")
    with (output / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "label", "source", "generator", "group"])
        writer.writeheader()
        writer.writerows(rows)
    return len(rows) // 2


def _draw(real: Sequence[Picture], count: int) -> list[Picture]:
    sampler, rng = Sampler([*real], 0.5), np.random.default_rng(0)
    drawn: dict[str, Picture] = {}
    for _ in range(count * 20):
        if len(drawn) >= min(count, len(real)):
            break
        picture = sampler.draw_real(rng)
        drawn[picture.path] = picture
    return list(drawn.values())


def _cut(picture: Picture, side: int) -> _Cut:
    decoded = decode(picture.data)
    image = decoded.raw
    side = min(side, *image.size) // _GRID * _GRID
    # On the grid of the real picture's JPEG: the twin saved again then loses next to nothing.
    left, top = (
        int(fraction(picture.path, axis) * ((length - side) // _GRID + 1)) * _GRID
        for axis, length in zip("xy", image.size, strict=True)
    )
    return _Cut(picture=picture, decoded=decoded, image=image.crop((left, top, left + side, top + side)))


def _through(image: Image.Image, autoencoder: Autoencoder, keep: float) -> Image.Image:
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255.0
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        y = autoencoder(x.contiguous(memory_format=torch.channels_last))
    y = keep * x + (1.0 - keep) * y
    return Image.fromarray((y[0].permute(1, 2, 0) * 255.0).round().to(torch.uint8).numpy())


def _save_like(image: Image.Image, decoded: Decoded) -> bytes:
    buffer = io.BytesIO()
    if decoded.quantization:
        image.save(buffer, "JPEG", qtables=decoded.quantization, subsampling=2 if len(decoded.quantization) > 1 else 0)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()
