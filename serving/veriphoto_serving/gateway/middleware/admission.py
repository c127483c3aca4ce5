"""Who may come in: a bound on pictures at Triton and on bytes in memory. What does not fit is refused, not queued.

Refused not quite at once: callers that try again without a pause would otherwise spend the processor on refusals (16 of
them on two cores left a quarter of the throughput). A moment's wait bounds how often each of them can ask.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

from veriphoto_serving.gateway.errors import BusyError

PATIENCE_S: Final = 0.02
"""How long a request waits for a place before it is refused; refusals are promised within 50 ms."""


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
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def room(self, patience: float = PATIENCE_S) -> None:
        """Waits a moment for room, without taking it: to be asked before anything is read.

        Args:
            patience: Seconds to wait at most.

        Raises:
            BusyError: If there is none by then.
        """
        if self.taken >= self.places:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(turn, patience)
            finally:
                with suppress(ValueError):
                    self._waiting.remove(turn)
        self.check()

    def check(self, wanted: int = 1) -> None:
        """Looks whether there is room, without taking it.

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
            for _ in range(min(wanted, len(self._waiting))):
                turn = self._waiting.popleft()
                if not turn.done():
                    turn.set_result(None)


class Queue:
    """A number of bytes in which others wait for their turn, in order; on one event loop.

    For copies that are made of what was let in already: refusing would come too late, and they are given back within
    tenths of a second.
    """

    def __init__(self, size: int) -> None:
        """Sets the number.

        Args:
            size: Bytes that may be held together. Who wants more holds all.
        """
        self.size = size
        self.taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, wanted: int) -> AsyncIterator[None]:
        """Holds bytes for the length of a block, and waits for them before.

        Args:
            wanted: How many.
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
