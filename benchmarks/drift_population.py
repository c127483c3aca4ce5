"""Draws traffic from the scored photos: a day, and days in which something has changed.

A bootstrap: every picture of a day is one of the population, drawn with replacement, a row whole, so that what belongs
together (a size, a quality, a score) stays together. Reference and days are draws of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CONTRACT
from veriphoto.prediction_log.record import Record
from veriphoto.verdict import OperatingPoint, decide
from veriphoto_monitoring.input.features import WIDTH, to_rows

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

AI_SHARE: Final = 0.10
"""Share of AI-generated pictures in healthy traffic: assumed, as in the goals' simulation."""
_MISSED_COPIES: Final = 8
_SCORES: Final = slice(0, WIDTH - len(CONTRACT.statistics))


@dataclass(frozen=True)
class Shift:
    """What a changed period is made of."""

    name: str
    goal: int
    """Images within which 95 % of changes should be seen."""
    cause: str
    """What the monitor should say is behind it."""
    ai_share: float = AI_SHARE
    recompressed: float = 0.0
    """Share of the traffic."""
    raised: float = 0.0
    """Added to the logit of every real picture, in standard deviations of the real pictures' logits."""
    missed: float = 0.0
    """Share of AI-generated pictures that score as real ones do."""


NONE: Final = Shift("none", 0, "")
SHIFTS: Final = (
    Shift("real scores +0.33 sd", 2000, "score", raised=0.33),
    Shift("AI share x2", 2000, "prior", ai_share=2 * AI_SHARE),
    Shift("20 % recompressed", 2000, "input", recompressed=0.2),
    Shift("10 % recompressed", 4000, "input", recompressed=0.1),
    Shift("AI share x1.5", 10000, "prior", ai_share=1.5 * AI_SHARE),
    Shift("half of AI missed", 10000, "prior", missed=0.5),
)
"""The changes of the goals. Fewer AI-generated pictures and more that pass as real look the same without labels."""


class Population:
    """All rows that traffic is drawn from, and which of them are what."""

    def __init__(self, pool: Path, point: OperatingPoint, seed: int = 0) -> None:
        """Reads what ``drift_pool`` wrote.

        Args:
            pool: The file.
            point: Makes the verdicts.
            seed: For the AI-generated pictures that pass as real.
        """
        with np.load(pool) as found:
            self.model, ai = str(found["model"]), found["label"] == 1
            source = found["source"]
            clean = _rows(found["logit_clean"], found["statistics_clean"], point)
            web = _rows(found["logit_web"], found["statistics_web"], point)
        self.ai, self.real = int(ai.sum()), int((~ai).sum())
        real, fake = clean[~ai], clean[ai]
        step = real[:, 0].std()
        missed = np.repeat(fake, _MISSED_COPIES, axis=0)
        donors = np.random.default_rng(seed).integers(0, len(real), len(missed))
        missed[:, _SCORES] = real[donors, _SCORES]
        parts = {"real": real, "ai": fake, "real web": web[~ai], "ai web": web[ai], "ai missed": missed}
        for shift in SHIFTS:
            if shift.raised:
                parts[f"real {shift.raised}"] = _rows(real[:, 0] + shift.raised * step, real[:, 4:], point)
        self._sources = (_by_name(source[~ai], 0), _by_name(source[ai], self.real))
        self.rows = np.concatenate(list(parts.values()))
        ends = np.cumsum([len(part) for part in parts.values()])
        self._ranges = {
            name: (int(end - len(part)), int(end)) for (name, part), end in zip(parts.items(), ends, strict=True)
        }

    def draw(self, rng: np.random.Generator, count: int, shift: Shift = NONE) -> Indices:
        """Draws ``count`` pictures; returns their places in ``rows``."""
        ai = rng.random(count) < shift.ai_share
        found = np.where(ai, self._some(rng, "ai", count), self._some(rng, "real", count))
        if shift.raised:
            found = np.where(ai, found, self._some(rng, f"real {shift.raised}", count))
        if shift.missed:
            found = np.where(ai & (rng.random(count) < shift.missed), self._some(rng, "ai missed", count), found)
        if shift.recompressed:
            web = np.where(ai, self._some(rng, "ai web", count), self._some(rng, "real web", count))
            found = np.where(rng.random(count) < shift.recompressed, web, found)
        return found

    def draw_series(self, rng: np.random.Generator, count: int, length: int) -> Indices:
        """Draws pictures in series: each of one source, ``length`` on average, in the shares of ``draw``."""
        if length == 1:
            return self.draw(rng, count)
        found: list[Indices] = []
        drawn = 0
        while drawn < count:
            members = self._sources[int(rng.random() < AI_SHARE)]
            sizes = np.array([len(one) for one in members])
            chosen = members[rng.choice(len(members), p=sizes / sizes.sum())]
            found.append(rng.choice(chosen, rng.geometric(1.0 / length)))
            drawn += len(found[-1])
        return np.concatenate(found)[:count]

    def _some(self, rng: np.random.Generator, name: str, count: int) -> Indices:
        return rng.integers(*self._ranges[name], size=count)


def _by_name(names: Any, start: int) -> list[Indices]:
    return [start + np.flatnonzero(names == name) for name in np.unique(names)]


def _rows(logits: Any, statistics: Any, point: OperatingPoint) -> Floats:
    records = []
    for logit, values in zip(logits, statistics, strict=True):
        probability = float(1.0 / (1.0 + np.exp(-logit)))
        verdict = decide(probability, dict(zip(CONTRACT.statistics, map(float, values), strict=True)), point)
        # As the log has it, rounding included.
        line = Record(
            time=0.0,
            request_id="",
            model_version=point.model_version,
            logit=float(logit),
            probability=probability,
            verdict=verdict.verdict,
            confidence=verdict.confidence,
            statistics=tuple(map(float, values)),
        ).to_line()
        records.append(Record.from_line(line))
    return to_rows(records)
