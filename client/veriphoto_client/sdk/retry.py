"""Retries requests to a service that is busy or away.

By hand rather than with tenacity: each of its policies (what to retry, how long to wait given ``Retry-After``, when to
stop given a limit that is known only after the first failure) would be a function of ours, and only the loop its own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from veriphoto.errors import DeadlineExceededError, OverloadedError, ServiceError, ServiceUnavailableError

T = TypeVar("T")

_PASSING: Final = (ServiceUnavailableError, OverloadedError, DeadlineExceededError)
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


def asking_to_wait(error: ServiceError, seconds: float | None) -> ServiceError:
    """Stores on an error the seconds of the service's ``Retry-After``; returns the error."""
    if seconds is not None:
        error.__dict__["retry_after"] = seconds
    return error


def retry_after(error: BaseException) -> float | None:
    """Returns the seconds of the ``Retry-After`` stored on an error; None if there is none."""
    seconds: float | None = getattr(error, "retry_after", None)
    return seconds


async def patiently(
    ask: Callable[[], Awaitable[T]],
    patience: Callable[[], float],
    on_trouble: Callable[[ServiceError], None] = lambda _: None,
) -> T:
    """Sends a request until it is answered, with pauses that grow and are never shorter than ``Retry-After``.

    Args:
        ask: Sends the request.
        patience: Returns the seconds for which to retry; called after a failure.
        on_trouble: Called with each error that leads to a retry.

    Raises:
        ServiceError: The last error once the time is up; immediately if a retry cannot help.
    """
    started = time.monotonic()
    pause = _FIRST_PAUSE
    while True:
        try:
            return await ask()
        except ServiceError as error:
            asked = retry_after(error)
            if not isinstance(error, _PASSING) and asked is None:
                raise
            # Jitter, so that requests that were refused together do not come back together.
            wait = max(pause * random.uniform(0.5, 1.0), (asked or 0.0) * random.uniform(1.0, 1.1))  # noqa: S311
            if time.monotonic() + max(wait, pause) > started + patience():
                raise
            on_trouble(error)
        await asyncio.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)
