"""How often flags are right and how much is missed, as far as people's decisions can say."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select

from veriphoto.intervals import Z95, wilson
from veriphoto_review.cases.case import State, Why
from veriphoto_review.database.connection import Database, now
from veriphoto_review.database.schema import cases, tallies

MARGIN: Final = 0.02
"""Half the width of the interval that people should aim at."""
RECENT_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval."""

    hits: int
    trials: int

    @property
    def value(self) -> float | None:
        """The share; None where nothing was tried."""
        return self.hits / self.trials if self.trials else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's."""
        return wilson(self.hits, self.trials)

    @property
    def needed(self) -> int:
        """How many more trials bring the interval to about +-2 points, if the share stays what it seems."""
        low, high = self.interval
        # Where nothing is known yet, the widest case; else the end of the interval that is nearer to one half.
        likely = 0.5 if low <= 0.5 <= high else min((low, high), key=lambda end: abs(end - 0.5))
        if self.trials:
            likely = self.hits / self.trials if 0 < self.hits < self.trials else likely
        return max(0, math.ceil(Z95 * Z95 * likely * (1.0 - likely) / MARGIN**2) - self.trials)


@dataclass(kw_only=True)
class Tally:
    """Answers and decisions of one shop, version or month, or of all."""

    answers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """All answers, by verdict."""
    states: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    """Cases by why and state."""

    def _decided(self, why: Why, state: State) -> int:
        return self.states.get((why, state), 0)

    @property
    def precision(self) -> Share:
        """Of the flags that people could judge, those that are AI-generated."""
        right = self._decided(Why.FLAGGED, State.CONFIRMED)
        return Share(right, right + self._decided(Why.FLAGGED, State.OVERTURNED))

    @property
    def missed(self) -> Share:
        """Of the audit sample, what is AI-generated though it was called real."""
        wrong = self._decided(Why.AUDIT, State.OVERTURNED)
        return Share(wrong, wrong + self._decided(Why.AUDIT, State.CONFIRMED))

    @property
    def judged(self) -> Share:
        """Share of the flags that people have judged; precision is that of all flags if this is near 1 or drawn."""
        flagged = self.answers.get("ai_generated", 0)
        return Share(min(flagged, self.precision.trials), flagged)

    @property
    def wrongly_flagged(self) -> tuple[float, float, float] | None:
        """How often a real photo is flagged: estimate and bounds, of flags and audit sample together.

        The bounds combine the ends of both intervals, so they are wider than 95 %.
        """
        flagged, passed = self.answers.get("ai_generated", 0), self.answers.get("real", 0)
        if not (self.precision.trials and self.missed.trials and flagged + passed):
            return None

        def rate(precision: float, missed: float) -> float:
            wrong, right = flagged * (1.0 - precision), passed * (1.0 - missed)
            return wrong / (wrong + right) if wrong + right else 0.0

        (p_low, p_high), (m_low, m_high) = self.precision.interval, self.missed.interval
        middle = rate(self.precision.value or 0.0, self.missed.value or 0.0)
        return middle, rate(p_high, m_low), rate(p_low, m_high)

    def add(self, other: Tally) -> None:
        """Adds another tally's counts."""
        for verdict, count in other.answers.items():
            self.answers[verdict] += count
        for kind, count in other.states.items():
            self.states[kind] += count


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """All that the report says."""

    at: float
    total: Tally
    by_shop: dict[str, Tally]
    by_version: dict[str, Tally]
    by_month: dict[str, Tally]
    recent: Share
    """Precision of flags of the last 30 days ..."""
    earlier: Share
    """... and of those before, which it is held against."""

    @property
    def fallen(self) -> bool:
        """Whether the precision has fallen by more than chance explains."""
        return self.recent.interval[1] < self.earlier.interval[0]


def figures(database: Database, *, shop: str | None = None) -> Figures:
    """Counts.

    Args:
        database: With the cases.
        shop: Only of this one.

    Raises:
        DatabaseError: If the database refuses.
    """
    at = now()
    kinds = (cases.c.shop, cases.c.model_version, cases.c.month, cases.c.why, cases.c.state)
    border = (datetime.fromtimestamp(at, UTC) - timedelta(days=RECENT_DAYS)).timestamp()
    is_recent = cases.c.seen_at >= border
    with database.reading() as connection:
        wanted = [] if shop is None else [cases.c.shop == shop]
        counted = connection.execute(select(*kinds, func.count()).where(*wanted).group_by(*kinds)).all()
        answered = connection.execute(select(tallies).where(*([] if shop is None else [tallies.c.shop == shop]))).all()
        flags = connection.execute(
            select(is_recent, cases.c.state, func.count())
            .where(cases.c.why == Why.FLAGGED, *wanted)
            .group_by(is_recent, cases.c.state)
        ).all()
    cells: dict[tuple[str, str, str], Tally] = defaultdict(Tally)
    for row in answered:
        cells[row.shop, str(row.model_version), row.month].answers[row.verdict] += row.answers
    for shop_, version, month, why, state, count in counted:
        cells[shop_, str(version), month].states[why, state] += count
    periods = {(bool(recent), state): count for recent, state, count in flags}
    return Figures(
        at=at,
        total=_sum(cells.values()),
        by_shop=_by(cells, lambda key: key[0]),
        by_version=_by(cells, lambda key: key[1]),
        by_month=_by(cells, lambda key: key[2]),
        recent=_period(periods, recent=True),
        earlier=_period(periods, recent=False),
    )


def _period(counts: dict[tuple[bool, Any], int], *, recent: bool) -> Share:
    right = counts.get((recent, State.CONFIRMED.value), 0)
    return Share(right, right + counts.get((recent, State.OVERTURNED.value), 0))


def _sum(parts: Iterable[Tally]) -> Tally:
    total = Tally()
    for part in parts:
        total.add(part)
    return total


def _by(cells: dict[tuple[str, str, str], Tally], name: Callable[[tuple[str, str, str]], str]) -> dict[str, Tally]:
    groups: dict[str, Tally] = defaultdict(Tally)
    for key, tally in cells.items():
        groups[name(key)].add(tally)
    return dict(sorted(groups.items(), key=lambda item: (len(item[0]) if item[0].isdigit() else 0, item[0])))
