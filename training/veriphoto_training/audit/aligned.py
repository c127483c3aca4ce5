"""Measures the metadata that is left in what the network sees: that of the alignment chain's last encoding."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
from PIL import Image

from veriphoto.errors import DataError
from veriphoto_training.augment import alignment
from veriphoto_training.data.facts import METADATA, Metadata, metadata
from veriphoto_training.recipes import Recipe

Aligned = Callable[[bytes, np.random.Generator], Metadata]


class _Recorder:
    """Stands for a picture that is about to be saved, and keeps what was written."""

    def __init__(self, image: Image.Image, seen: list[bytes]) -> None:
        self._image = image
        self._seen = seen

    def save(self, buffer: io.BytesIO, *arguments: Any, **options: Any) -> None:
        self._image.save(buffer, *arguments, **options)
        self._seen.append(buffer.getvalue())


@contextmanager
def aligned_metadata(recipe: Recipe) -> Iterator[Aligned]:
    """Records what the alignment chain's encoder writes, which the chain itself discards. Not thread-safe.

    Args:
        recipe: Recipe whose chain is used.

    Yields:
        A function from a file's bytes and a generator to the metadata FP32 [len(METADATA)] of what the chain encoded
        last; NaN where it ended with pixels that were not encoded.

    Raises:
        DataError: If the recipe aligns nothing.
    """
    if not recipe.align:
        raise DataError(f"recipe '{recipe.name}' has no alignment chain; audit the data with one that has")
    chain = replace(alignment.Chain.of(recipe), two_views=False)
    seen: list[bytes] = []
    plain, last = alignment.recode, alignment.last_encoding

    def watched(image: Image.Image, kind: str, quality: int, rng: np.random.Generator) -> Image.Image:
        return plain(cast("Image.Image", _Recorder(image, seen)), kind, quality, rng)

    def watched_last(image: Image.Image, rng: np.random.Generator, quality: tuple[int, int]) -> Image.Image:
        seen.clear()  # what came before is an earlier generation
        return last(image, rng, quality)

    def measure(data: bytes, rng: np.random.Generator) -> Metadata:
        chain(data, rng)
        return metadata(seen[-1]) if seen else np.full(len(METADATA), np.nan, dtype=np.float32)

    alignment.recode, alignment.last_encoding = watched, watched_last
    try:
        yield measure
    finally:
        alignment.recode, alignment.last_encoding = plain, last
