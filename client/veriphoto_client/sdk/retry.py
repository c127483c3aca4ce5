"""Asking again: a service that is busy or away may answer a moment later."""

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
    """Notes on an error how long the service asked to be left alone; returns the error."""
    if seconds is not None:
        error.__dict__["retry_after"] = seconds
    return error


def retry_after(error: BaseException) -> float | None:
    """Returns the seconds that a service's ``Retry-After`` asked for; None where it asked for nothing."""
    seconds: float | None = getattr(error, "retry_after", None)
    return seconds


async def patiently(
    ask: Callable[[], Awaitable[T]],
    patience: Callable[[], float],
    on_trouble: Callable[[ServiceError], None] = lambda _: None,
) -> T:
    """Asks until there is an answer, pausing longer each time and never less than ``Retry-After`` says.

    Args:
        ask: Sends the request.
        patience: Returns the seconds for which to ask again; looked up after a failure.
        on_trouble: Told each error that is waited out.

    Raises:
        ServiceError: The last one, once patience has run out; at once if asking again cannot help.
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
            # Spread out, or all that were refused together would come back together.
            wait = max(pause * random.uniform(0.5, 1.0), (asked or 0.0) * random.uniform(1.0, 1.1))  # noqa: S311
            if time.monotonic() + max(wait, pause) > started + patience():
                raise
            on_trouble(error)
        await asyncio.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)
