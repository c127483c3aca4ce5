"""Work beside the answers: a bounded queue and the one thread that empties it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

QUEUE: Final = 8192
"""Items that may wait; further ones are dropped."""

_BATCH: Final = 256
_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Background(Generic[T]):
    """A bounded queue, and the one thread that empties it.

    The thread looks every tenth of a second instead of being woken: so an offer costs next to nothing.
    """

    def __init__(self, work: Callable[[list[T]], int], name: str) -> None:
        """Starts the thread.

        Args:
            work: Takes items, at most some hundreds or none, and returns how many it is done with; it is given the
                others again, after a pause. What it raises costs the items it was given.
            name: Of the thread.
        """
        self.dropped = 0
        """Items that found no room, or that ``work`` raised at."""
        self._work = work
        self._queue: deque[T] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: T) -> None:
        """Hands over an item without waiting; where there is no room for it, it is counted and dropped."""
        if len(self._queue) < QUEUE:
            self._queue.append(item)
        else:
            self.dropped += 1

    def close(self, patience: float = 2.0) -> bool:
        """Works off what waits, once, and ends the thread.

        Args:
            patience: Seconds to wait for that.

        Returns:
            False if the thread hangs; it is left to end with the process.
        """
        self._stop.set()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = _PAUSE_S
        while True:
            ending = self._stop.wait(pause)
            pause = _PAUSE_S if self._empty() else min(2 * pause, _LONGEST_PAUSE_S)
            if ending:
                return

    def _empty(self) -> bool:
        """Works until nothing waits, or until something cannot be done now."""
        while True:
            items = [self._queue[place] for place in range(min(_BATCH, len(self._queue)))]
            try:
                done = self._work(items)
            except Exception as error:  # noqa: BLE001 - the thread must live, whatever it is
                _log.error("%s failed: %s", self._thread.name, type(error).__name__)
                done = len(items)
                self.dropped += done
            # Taken out only now: what is tried again still counts towards the bound.
            for _ in range(done):
                self._queue.popleft()
            if done < len(items):
                return False
            if not self._queue:
                return True
