"""Who may come in: a bound on pictures at Triton and on bytes in memory. What does not fit is refused, not queued."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from veriphoto_serving.gateway.errors import BusyError


class Bound:
    """A number of places, taken and given back on one event loop."""

    def __init__(self, places: int, what: str) -> None:
        """Sets the bound.

        Args:
            places: How many there are.
            what: What takes them, for the message.
        """
        self.places = places
        self.taken = 0
        self._what = what

    def check(self, wanted: int = 1) -> None:
        """Looks whether there is room, without taking it: cheap enough to ask before anything is read.

        Raises:
            BusyError: If there is not.
        """
        if self.taken + wanted > self.places:
            raise BusyError(f"too many {self._what} at a time; try again in a moment")

    @contextmanager
    def take(self, wanted: int = 1) -> Iterator[None]:
        """Takes places for the length of a block.

        Args:
            wanted: How many.

        Raises:
            BusyError: If there are too few.
        """
        self.check(wanted)
        self.taken += wanted
        try:
            yield
        finally:
            self.taken -= wanted
