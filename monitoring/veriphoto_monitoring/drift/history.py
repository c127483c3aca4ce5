"""The latest pictures of one model version, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from veriphoto_monitoring.input.features import MONITORED, WIDTH, Floats
from veriphoto_monitoring.stats.budget import WINDOWS
from veriphoto_monitoring.stats.distributions import Numbers, Reference

KEEP: Final = 2 * max(WINDOWS)
"""Pictures kept: the largest window and as many before it, to find when a change began."""
VERSIONS: Final = 3
"""Model versions kept: those that answered last."""


class History:
    """The last ``KEEP`` pictures, and how many there were in total."""

    def __init__(self, reference: Reference | None = None, seen: int = 0) -> None:
        """Starts empty.

        Args:
            reference: The distributions that windows are compared with.
            seen: Pictures of the version before the first one added here.
        """
        self._rows = np.empty((2 * KEEP, WIDTH))
        self._times = np.empty(2 * KEEP)
        self._cells = np.zeros((2 * KEEP, len(MONITORED)), dtype=np.int32)
        self._ids: list[str] = []
        self._length = 0
        self.seen = seen
        self.reference = reference

    def __len__(self) -> int:
        """Returns the number of pictures kept."""
        return min(self._length, KEEP)

    def append(self, rows: Floats, times: Floats, ids: Sequence[str]) -> None:
        """Adds pictures: rows [N, WIDTH], times [N] and N request ids, N at most ``KEEP``."""
        count = len(rows)
        if self._length + count > 2 * KEEP:
            kept = slice(self._length - KEEP, self._length)
            for buffer in (self._rows, self._times, self._cells):
                buffer[:KEEP] = buffer[kept].copy()
            self._ids = self._ids[kept]
            self._length = KEEP
        place = slice(self._length, self._length + count)
        self._rows[place], self._times[place] = rows, times
        self._cells[place] = self._code(rows)
        self._ids.extend(ids)
        self._length += count
        self.seen += count

    def refer(self, reference: Reference | None) -> None:
        """Sets the reference that windows are tested against."""
        self.reference = reference
        self._cells[: self._length] = self._code(self._rows[: self._length])

    def rows(self, images: int) -> Floats:
        """Returns the last rows, [images, WIDTH] or fewer."""
        found: Floats = self._rows[self._first(images) : self._length]
        return found

    def times(self, images: int) -> Floats:
        """Returns the times of the last pictures."""
        found: Floats = self._times[self._first(images) : self._length]
        return found

    def ids(self, images: int) -> list[str]:
        """Returns the request ids of the last pictures."""
        return self._ids[self._first(images) : self._length]

    def cells(self, number: int, images: int) -> npt.NDArray[np.int32]:
        """Returns in which cell of the reference's grid the last pictures lie; ``number`` as in ``MONITORED``."""
        found: npt.NDArray[np.int32] = self._cells[self._first(images) : self._length, number]
        return found

    def _first(self, images: int) -> int:
        return max(self._length - min(images, KEEP), 0)

    def _code(self, rows: Floats) -> npt.NDArray[np.int32]:
        cells = np.zeros((len(rows), len(MONITORED)), dtype=np.int32)
        known: dict[str, Any] = self.reference.distributions if self.reference else {}
        for number, each in enumerate(MONITORED):
            found = known.get(each.name)
            if isinstance(found, Numbers):
                cells[:, number] = found.cells(rows[:, each.index])
            elif each.kind == "category":
                cells[:, number] = rows[:, each.index]
        return cells
