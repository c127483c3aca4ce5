"""Counts the progress of all actors, and finds the photo that crashes the process that scores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEATHS_TO_BLAME: Final = 2
"""Number of times a photo must have been in work when its process died; once may be a node that was lost."""


@dataclass(frozen=True, slots=True)
class Count:
    """Totals over units."""

    done: int = 0
    failed: int = 0
    """The number of them with an error in their row."""
    seconds: float = 0.0
    """Core-seconds used."""

    def __add__(self, other: Count) -> Count:
        return Count(self.done + other.done, self.failed + other.failed, self.seconds + other.seconds)


class Tally:
    """Counts of all units of a scan."""

    def __init__(self) -> None:
        self._finished = Count()
        self._running: dict[str, Count] = {}
        self._starts: dict[str, int] = {}
        self._in_work: dict[str, int] = {}
        self._deaths: dict[str, dict[int, int]] = {}
        self._trouble = ""

    def begin(self, unit: str) -> tuple[bool, set[int]]:
        """Starts a unit.

        Returns:
            Whether the unit was started before, so that it must report which photo is in work; and the positions of
            the photos that ended its process.
        """
        self._starts[unit] = self._starts.get(unit, 0) + 1
        deaths = self._deaths.setdefault(unit, {})
        position = self._in_work.pop(unit, None)
        if position is not None:
            deaths[position] = deaths.get(position, 0) + 1
        return self._starts[unit] > 1, {at for at, times in deaths.items() if times >= DEATHS_TO_BLAME}

    def working(self, unit: str, position: int) -> None:
        """Notes which picture of a unit is in work."""
        self._in_work[unit] = position

    def note(self, unit: str, count: Count) -> None:
        """Replaces a unit's count: one that is scored again is not counted twice."""
        self._running[unit] = count

    def finish(self, unit: str, count: Count) -> None:
        """Closes a unit whose part file has been written."""
        self._finished += count
        for notes in (self._running, self._starts, self._in_work, self._deaths):
            notes.pop(unit, None)

    def complain(self, trouble: str) -> None:
        """Notes the error that stopped a unit."""
        self._trouble = trouble

    def trouble(self) -> str:
        """Returns the last error that stopped a unit; empty if there was none, or its process died silently."""
        return self._trouble

    def total(self) -> Count:
        """Returns the sum over all units."""
        return sum(self._running.values(), self._finished)
