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
Crops = npt.NDArray[np.uint8]
Score = Callable[[Crops], Probabilities]
"""UINT8 crops [N, K, S, S, 3] in, probabilities FP32 [N, M] out: one column for each way of scoring."""
Track = Callable[[Sequence[Path]], Iterable[Path]]


class Model(Protocol):
    """The part of a published version (``scorers.OnnxScorer``) that scoring needs."""

    def probabilities(self, crops: Crops) -> Probabilities:
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
    statistics: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Scored:
    photo: _Photo
    probability: Probabilities
    """FP32 [M], one for each way of scoring."""


def score_shop(
    files: Sequence[Path], model: Model, point: OperatingPoint, track: Track = lambda files: files
) -> ShopScores:
    """Scores photos with one model.

    Args:
        files: Real photos of one shop, as it receives them.
        model: The version to calibrate.
        point: Its gates decide which photos count.
        track: Shows progress.

    Returns:
        What can be calibrated on.
    """
    [scores] = score_shop_with(files, lambda crops: model.probabilities(crops)[:, None], [point], track)
    return scores


def score_shop_with(
    files: Sequence[Path], score: Score, points: Sequence[OperatingPoint], track: Track = lambda files: files
) -> list[ShopScores]:
    """Scores photos in several ways at once, decoding each photo once.

    Args:
        files: Real photos of one shop, as it receives them.
        score: Scores a batch in every way.
        points: For each way, the operating point whose gates decide which photos count.
        track: Shows progress.

    Returns:
        For each way, what can be calibrated on.
    """
    scored: list[_Scored] = []
    broken: dict[str, str] = {}
    waiting: list[tuple[_Photo, Crops]] = []

    def flush() -> None:
        if waiting:
            answers = score(np.stack([crops for _, crops in waiting]))
            scored.extend(_Scored(photo, row) for (photo, _), row in zip(waiting, answers, strict=True))
            waiting.clear()

    for path in track(files):
        try:
            waiting.append(_open(path))
        except ImageError as error:
            broken[path.name] = error.message
        if len(waiting) == BATCH:
            flush()
    flush()
    return [_usable(scored, way, point, broken) for way, point in enumerate(points)]


def _usable(scored: Sequence[_Scored], way: int, point: OperatingPoint, broken: dict[str, str]) -> ShopScores:
    kept = [
        (each.photo, float(each.probability[way]))
        for each in scored
        if _passes(float(each.probability[way]), each.photo.statistics, point)
    ]
    chosen = _independent([photo.facts for photo, _ in kept], [value for _, value in kept])
    return ShopScores(
        probability=np.array([kept[index][1] for index in chosen], dtype=np.float32),
        photos=tuple(kept[index][0].path for index in chosen),
        copies=len(kept) - len(chosen),
        gated=len(scored) - len(kept),
        broken=broken,
    )


def _open(path: Path) -> tuple[_Photo, Crops]:
    data = read(path)
    made = preprocess(data)
    statistics = dict(zip(CONTRACT.statistics, map(float, made.statistics), strict=True))
    return _Photo(path, measure_file(data), statistics), made.crops


def _passes(probability: float, statistics: dict[str, float], point: OperatingPoint) -> bool:
    return decide(probability, statistics, point).reason in ("", "borderline")


def _independent(facts: Sequence[Facts], values: Sequence[float]) -> list[int]:
    """One picture of each set of copies: the one that the model takes most for AI, so that none is forgotten."""
    from scipy.sparse import coo_array  # noqa: PLC0415 - of an extra
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    pairs = [(pair.first, pair.second) for pair in find_pairs(facts)]
    if not pairs:
        return list(range(len(facts)))
    links = coo_array((np.ones(len(pairs)), np.transpose(pairs)), shape=(len(facts), len(facts)))
    _, sets = connected_components(links, directed=False)
    best: dict[int, int] = {}
    for index, one in enumerate(sets.tolist()):
        if one not in best or values[index] > values[best[one]]:
            best[one] = index
    return sorted(best.values())
