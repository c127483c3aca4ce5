"""Scores a shop's own real photos, and keeps those that count as independent evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CONTRACT
from veriphoto.errors import ImageError
from veriphoto.preprocessing import preprocess
from veriphoto.verdict import OperatingPoint, decide
from veriphoto_training.data.duplicates import find_pairs
from veriphoto_training.data.facts import Facts, measure_file, read

BATCH: Final = 8

Probabilities = npt.NDArray[np.float32]
Track = Callable[[Sequence[Path]], Iterable[Path]]


class Model(Protocol):
    """What is needed of a published version (``scorers.OnnxScorer``)."""

    def probabilities(self, crops: npt.NDArray[np.uint8]) -> Probabilities:
        """Returns the graph's FP32 [N] of UINT8 crops [N, K, S, S, 3]."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopScores:
    """A shop's photos, scored."""

    probability: Probabilities
    """FP32 [n], one for each independent photo that passes the model's gates."""
    photos: tuple[Path, ...]
    """Which ones."""
    copies: int
    """Left out: copies of another photo, of which the one with the highest probability counts."""
    gated: int
    """Left out: too small or too degraded, ``unsure`` whatever their probability."""
    broken: dict[str, str]
    """Name to reason."""


@dataclass(frozen=True, slots=True)
class _Photo:
    path: Path
    facts: Facts
    crops: npt.NDArray[np.uint8]
    statistics: dict[str, float]


def score_shop(
    files: Sequence[Path], model: Model, point: OperatingPoint, track: Track = lambda files: files
) -> ShopScores:
    """Scores photos, a batch at a time.

    Args:
        files: Real photos of one shop, as it receives them.
        model: The version to calibrate.
        point: Its gates decide which photos count.
        track: Shows progress.

    Returns:
        What can be calibrated on.
    """
    kept: list[tuple[Path, Facts, float]] = []
    broken: dict[str, str] = {}
    gated = 0
    waiting: list[_Photo] = []

    def flush() -> int:
        if not waiting:
            return 0
        scored = model.probabilities(np.stack([photo.crops for photo in waiting]))
        answers = [(photo, float(value)) for photo, value in zip(waiting, scored, strict=True)]
        passed = [one for one in answers if _passes(one[1], one[0].statistics, point)]
        kept.extend((photo.path, photo.facts, value) for photo, value in passed)
        waiting.clear()
        return len(answers) - len(passed)

    for path in track(files):
        try:
            waiting.append(_open(path))
        except ImageError as error:
            broken[path.name] = error.message
        if len(waiting) == BATCH:
            gated += flush()
    gated += flush()
    chosen = _independent([facts for _, facts, _ in kept], [value for *_, value in kept])
    return ShopScores(
        probability=np.array([kept[index][2] for index in chosen], dtype=np.float32),
        photos=tuple(kept[index][0] for index in chosen),
        copies=len(kept) - len(chosen),
        gated=gated,
        broken=broken,
    )


def _open(path: Path) -> _Photo:
    data = read(path)
    made = preprocess(data)
    statistics = dict(zip(CONTRACT.statistics, map(float, made.statistics), strict=True))
    return _Photo(path, measure_file(data), made.crops, statistics)


def _passes(probability: float, statistics: dict[str, float], point: OperatingPoint) -> bool:
    return decide(probability, statistics, point).reason in ("", "borderline")


def _independent(facts: Sequence[Facts], values: Sequence[float]) -> list[int]:
    """One picture of each set of copies: the one that the model takes most for AI, so that none is forgotten."""
    parent = list(range(len(facts)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for pair in find_pairs(facts):
        parent[root(pair.second)] = root(pair.first)
    best: dict[int, int] = {}
    for index in range(len(facts)):
        leader = root(index)
        if leader not in best or values[index] > values[best[leader]]:
            best[leader] = index
    return sorted(best.values())
