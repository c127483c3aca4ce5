"""How many pictures a caller may send: a token bucket for each API key."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from veriphoto_serving.gateway.errors import RateLimitedError


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """Refuses callers who send more than their share. Names come from the key ring, so there are few of them."""

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Sets the limit.

        Args:
            per_minute: Pictures a minute for each caller; 0 for no limit.
            burst: Pictures that may come at once.
            clock: Seconds that never run backwards.
        """
        self._rate = per_minute / 60.0
        self._burst = float(max(1, min(burst, per_minute)))
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str, pictures: int = 1) -> None:
        """Counts pictures of a caller.

        Args:
            name: Who sends them.
            pictures: How many. More than the burst may come when the bucket is full, and are paid back after.

        Raises:
            RateLimitedError: If there are too many; nothing is counted then.
        """
        if not self._rate or not pictures:
            return
        now = self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(self._burst, now))
        tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
        needed = min(float(pictures), self._burst)
        if tokens < needed:
            wait = (needed - tokens) / self._rate
            raise RateLimitedError(f"more than {self._rate * 60:g} pictures a minute; wait {wait:.1f} s", wait)
        bucket.tokens, bucket.at = tokens - pictures, now
