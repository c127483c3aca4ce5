"""Measuring in turns: on a shared machine only ratios of neighbours mean anything."""

from __future__ import annotations

import os
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Block = Callable[[], dict[str, Any]]
"""Measures one side for a moment; its answer holds ``images_per_s`` and whatever else is known."""


@dataclass
class Measured:
    """All blocks of all sides, round by round."""

    blocks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def rates(self, name: str) -> list[float]:
        """Returns a side's images a second, by round."""
        return [float(block["images_per_s"]) for block in self.blocks[name]]

    def ratios(self, name: str, over: str) -> list[float]:
        """Returns the ratio of two sides' images a second, by round."""
        return [mine / theirs for mine, theirs in zip(self.rates(name), self.rates(over), strict=True)]

    def cpu_ratios(self, name: str, over: str) -> list[float]:
        """Returns the ratio of the CPU time that an image costs, by round; above 1 where ``name`` costs less."""
        pairs = zip(self.blocks[name], self.blocks[over], strict=True)
        return [float(theirs["cpu_ms_per_image"]) / float(mine["cpu_ms_per_image"]) for mine, theirs in pairs]

    def ratio(self, name: str, over: str) -> dict[str, float]:
        """Compares two sides within each round.

        Returns:
            The ``spread`` of the ratios of their images a second.
        """
        return spread(self.ratios(name, over))

    def cpu_ratio(self, name: str, over: str) -> dict[str, float]:
        """Compares two sides by the CPU time that an image costs; other work on the machine counts less there.

        Returns:
            As ``ratio``; above 1 where ``name`` costs less than ``over``.
        """
        return spread(self.cpu_ratios(name, over))

    def median(self, name: str, key: str) -> float | None:
        """Returns the median of one of a side's figures, None where it has none."""
        values = [block[key] for block in self.blocks[name] if block.get(key) is not None]
        return statistics.median(values) if values else None


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns the median, where it lies (``low`` to ``high``, 95 %), and the number of values."""
    low, high = interval(values)
    return {
        "median": round(statistics.median(values), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "rounds": len(values),
    }


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """Bootstraps the 95 % interval of the median; always the same for the same values."""
    dice = random.Random(0)  # noqa: S311 - draws, not secrets
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def in_turns(
    sides: Mapping[str, Block], rounds: int, say: Callable[[str], None] | None = None, *, warm_up: bool = True
) -> Measured:
    """Measures sides in turns, in another order each round.

    Args:
        sides: What to measure, by name.
        rounds: How often.
        say: Told of each round; standard error by default.
        warm_up: First run a block of each that does not count.

    Returns:
        All blocks.
    """
    tell = say or (lambda text: print(text, file=sys.stderr, flush=True))
    measured = Measured({name: [] for name in sides})
    for block in sides.values() if warm_up else ():
        block()
    for number in range(rounds):
        for name in random.sample(list(sides), len(sides)):
            measured.blocks[name].append(sides[name]() | {"load_average": round(os.getloadavg()[0], 1)})
        shown = ", ".join(f"{name} {measured.rates(name)[-1]:.1f}" for name in sides)
        tell(f"round {number + 1} of {rounds}, images/s: {shown}")
    return measured


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Returns p50, p95 and p99 of latencies, in milliseconds."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {
        f"p{rank}_ms": round(1000.0 * ordered[min(len(ordered) - 1, int(rank / 100 * len(ordered)))], 2)
        for rank in (50, 95, 99)
    }
