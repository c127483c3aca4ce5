"""Measures the metadata that is left in what the network sees: that of the alignment chain's last encoding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from veriphoto.errors import DataError
from veriphoto_training.augment.alignment import Chain
from veriphoto_training.data.facts import METADATA, Metadata, metadata
from veriphoto_training.recipes import Recipe

Aligned = Callable[[bytes, np.random.Generator], Metadata]


def aligned_metadata(recipe: Recipe) -> Aligned:
    """Returns what measures a file after the alignment chain's last encoding, which the chain itself discards.

    Args:
        recipe: Recipe whose chain is used.

    Returns:
        A function from a file's bytes and a generator to the metadata FP32 [len(METADATA)] of what the chain encoded
        last; NaN where it ended with pixels that were not encoded.

    Raises:
        DataError: If the recipe aligns nothing.
    """
    if not recipe.align:
        raise DataError(f"recipe '{recipe.name}' has no alignment chain; audit the data with one that has")
    chain = Chain.of(recipe)

    def measure(data: bytes, rng: np.random.Generator) -> Metadata:
        file = chain.last_file(data, rng)
        return np.full(len(METADATA), np.nan, dtype=np.float32) if file is None else metadata(file)

    return measure
