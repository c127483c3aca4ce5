"""Copies and near-copies of a picture that a split could put on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from veriphoto_training.data.facts import Facts

MAX_BITS: Final = 8
"""Perceptual hashes that differ in more of their 64 bits are of different pictures."""
MIN_CORRELATION: Final = 0.985
"""Pictures of one kind (a shoe on white, from the side) share their hash; their small grey copies must agree too."""
_FLAT: Final = 2.0  # grey levels; a picture without contrast correlates with anything
_ROWS: Final = 512  # hashes compared with all others at a time: memory grows with rows x pictures

_BITS: Final = np.array([bin(value).count("1") for value in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures, by index, the first the smaller."""

    first: int
    second: int
    exact: bool
    """The files are equal byte by byte."""
    bits: int
    """By how many bits their perceptual hashes differ."""


def find_pairs(facts: Sequence[Facts]) -> list[Pair]:
    """Finds all pairs of equal or nearly equal pictures.

    A hash alone is not enough on product photos, which are composed alike: a candidate counts when the small grey
    copies correlate as well. Mirrored pictures are not found.

    Args:
        facts: Facts of all readable pictures.

    Returns:
        The pairs, by index.
    """
    hashes = np.array([fact.phash for fact in facts], dtype=np.uint64)
    return [
        pair
        for start in range(0, len(facts), _ROWS)
        for first, second, bits in _candidates(hashes, start)
        if (pair := _confirm(facts, first, second, bits)) is not None
    ]


def _candidates(hashes: npt.NDArray[np.uint64], start: int) -> list[tuple[int, int, int]]:
    rows = hashes[start : start + _ROWS]
    words = (rows[:, None] ^ hashes[None, start:]).view(np.uint16).reshape(len(rows), -1, 4)
    distance = _BITS[words].sum(axis=2, dtype=np.uint8)
    near = np.argwhere(np.triu(distance <= MAX_BITS, k=1))
    return [(start + int(row), start + int(column), int(distance[row, column])) for row, column in near]


def _confirm(facts: Sequence[Facts], first: int, second: int, bits: int) -> Pair | None:
    exact = facts[first].sha256 == facts[second].sha256
    if exact or _correlation(facts[first].thumb, facts[second].thumb) >= MIN_CORRELATION:
        return Pair(first, second, exact, bits)
    return None


def _correlation(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    one, two = (copy.astype(np.float64).ravel() - copy.mean() for copy in (first, second))
    scale = float(np.sqrt((one**2).mean() * (two**2).mean()))
    return float((one * two).mean()) / scale if scale > _FLAT**2 else 0.0
