"""The rate limit: a token bucket for each API key."""

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
    """Refuses callers that exceed their rate. Names come from the key ring, so there are few of them."""

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Sets the limit.

        Args:
            per_minute: Pictures per minute for each caller; 0 for no limit.
            burst: Pictures that may be sent at once.
            clock: A monotonic clock, in seconds.
        """
        self._rate = per_minute / 60.0
        self._burst = float(max(1, min(burst, per_minute)))
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str, pictures: int = 1, *, charged: int = 0) -> None:
        """Charges the pictures of a request to a caller.

        Args:
            name: Name of the caller.
            pictures: How many the request has. A full bucket admits more than the burst, and the excess is paid back
                afterwards.
            charged: How many of them were charged before.

        Raises:
            RateLimitedError: If there are too many; none is charged then, and what was charged before is given back.
        """
        more = pictures - charged
        if not self._rate or more <= 0:
            return
        now = self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(self._burst, now))
        tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
        needed = min(float(pictures), self._burst) - charged
        if tokens < needed:
            bucket.tokens, bucket.at = tokens + charged, now
            wait = (needed - tokens) / self._rate
            raise RateLimitedError(f"more than {self._rate * 60:g} pictures a minute; wait {wait:.1f} s", wait)
        bucket.tokens, bucket.at = tokens - more, now
