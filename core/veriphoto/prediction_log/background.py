"""Background work: a bounded queue and the thread that empties it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

QUEUE: Final = 8192
"""Maximum number of queued items; further ones are dropped."""

_BATCH: Final = 256
_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Background(Generic[T]):
    """A bounded queue and the thread that empties it.

    The thread polls every tenth of a second instead of being woken, which makes an offer almost free.
    """

    def __init__(self, work: Callable[[list[T]], int], name: str) -> None:
        """Starts the thread.

        Args:
            work: Called with a few hundred items at most, or none; returns how many it has finished. The rest are
                passed again after a pause. If it raises, the items it was given are dropped.
            name: Name of the thread.
        """
        self.dropped = 0
        """Items dropped because the queue was full or ``work`` raised."""
        self._work = work
        self._queue: deque[T] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: T) -> None:
        """Queues an item without waiting; if the queue is full, the item is dropped and counted."""
        if len(self._queue) < QUEUE:
            self._queue.append(item)
        else:
            self.dropped += 1

    def close(self, patience: float = 2.0) -> bool:
        """Processes what is queued one last time and ends the thread.

        Args:
            patience: Seconds to wait for the thread.

        Returns:
            False if the thread hangs; it then ends with the process.
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
        """Works until the queue is empty, or until an item cannot be finished now."""
        while True:
            items = [self._queue[place] for place in range(min(_BATCH, len(self._queue)))]
            try:
                done = self._work(items)
            except Exception as error:  # noqa: BLE001 - the thread must survive any error
                _log.error("%s failed: %s", self._thread.name, type(error).__name__)
                done = len(items)
                self.dropped += done
            # Removed only now, so that items to be retried still count towards the limit.
            for _ in range(done):
                self._queue.popleft()
            if done < len(items):
                return False
            if not self._queue:
                return True
