"""How far the actors are: feeds the progress line, and finds the picture that kills the process that scores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEATHS_TO_BLAME: Final = 2
"""Times that a picture must have been in work when its process died; once may be a node that died with it."""


@dataclass(frozen=True, slots=True)
class Count:
    """Sums over units."""

    done: int = 0
    failed: int = 0
    """Those of them with an error in their row."""
    seconds: float = 0.0
    """Of one core."""

    def __add__(self, other: Count) -> Count:
        return Count(self.done + other.done, self.failed + other.failed, self.seconds + other.seconds)


class Tally:
    """Counts of all units; one for a whole scan."""

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
            Whether it was started before, and so should say which picture is in work; and the positions of the
            pictures that are to blame for that.
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
        """Closes a unit whose part file is written."""
        self._finished += count
        for notes in (self._running, self._starts, self._in_work, self._deaths):
            notes.pop(unit, None)

    def complain(self, trouble: str) -> None:
        """Notes what stopped a unit."""
        self._trouble = trouble

    def trouble(self) -> str:
        """Returns what stopped a unit last; empty where none was, or its process ended without a word."""
        return self._trouble

    def total(self) -> Count:
        """Returns the sum over all units."""
        return sum(self._running.values(), self._finished)
