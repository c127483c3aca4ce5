"""Admission control: limits pictures at Triton and bytes in memory. Excess load is refused, not queued.

A refusal comes after a short wait. Otherwise callers that retry without a pause would use up the CPU on refusals: 16 of
them on two cores left a quarter of the throughput. The wait limits how often each of them can ask.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

from veriphoto_serving.gateway.errors import BusyError

PATIENCE_S: Final = 0.02
"""Seconds that a request waits for a place before it is refused; the API promises refusals within 50 ms."""


class Bound:
    """A number of places that are taken and released on one event loop."""

    def __init__(self, places: int, what: str) -> None:
        """Sets the limit.

        Args:
            places: Number of places.
            what: What takes places, for error messages.
        """
        self.places = places
        self.taken = 0
        self._what = what
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def room(self) -> None:
        """Waits a moment for a free place, without taking it. Called before a body is read.

        Raises:
            BusyError: If no place is free by then.
        """
        if self.taken >= self.places:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(turn, PATIENCE_S)
            finally:
                with suppress(ValueError):
                    self._waiting.remove(turn)
        self.check()

    def check(self, wanted: int = 1) -> None:
        """Checks for free places, without taking them.

        Raises:
            BusyError: If there are too few.
        """
        if self.taken + wanted > self.places:
            raise BusyError(f"too many {self._what} at a time; try again in a moment")

    @contextmanager
    def take(self, wanted: int = 1) -> Iterator[None]:
        """Takes places for the duration of a block.

        Args:
            wanted: Number wanted.

        Raises:
            BusyError: If there are too few.
        """
        self.check(wanted)
        self.taken += wanted
        try:
            yield
        finally:
            self.taken -= wanted
            for _ in range(min(wanted, len(self._waiting))):
                turn = self._waiting.popleft()
                if not turn.done():
                    turn.set_result(None)


class Queue:
    """A number of bytes that callers wait for in order, on one event loop.

    For copies of uploads that were already admitted: it is too late to refuse those, and the copies are released within
    tenths of a second.
    """

    def __init__(self, size: int) -> None:
        """Sets the size.

        Args:
            size: Bytes that may be held at a time; a caller that wants more gets all of them.
        """
        self.size = size
        self.taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, wanted: int) -> AsyncIterator[None]:
        """Waits for bytes and holds them for the duration of a block.

        Args:
            wanted: Number wanted.
        """
        wanted = min(wanted, self.size)
        if self._waiting or self.taken + wanted > self.size:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((wanted, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_back(wanted)
                raise
        else:
            self.taken += wanted
        try:
            yield
        finally:
            self._give_back(wanted)

    def _give_back(self, held: int) -> None:
        self.taken -= held
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done():
                if self.taken + wanted > self.size:
                    return
                self.taken += wanted
                turn.set_result(None)
            self._waiting.popleft()
