"""Scoring one file through the service's bad moments."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from veriphoto.errors import (
    DeadlineExceededError,
    ImageError,
    OverloadedError,
    ServiceError,
    ServiceUnavailableError,
)
from veriphoto_client._async import AsyncDetector
from veriphoto_client.scan.rows import Row, failed, scored
from veriphoto_client.scan.stamps import UNKNOWN, Stamp

_PASSING: Final = (ServiceUnavailableError, OverloadedError, DeadlineExceededError)
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


async def score(
    path: str,
    detector: AsyncDetector,
    *,
    stamp: Stamp = UNKNOWN,
    patience: float,
    on_trouble: Callable[[ServiceError], None],
) -> Row:
    """Scores one file, trying again while the service is overloaded or away.

    Args:
        path: The file, absolute.
        detector: Whom to ask.
        stamp: How the file is before it is read.
        patience: Seconds for which to try again.
        on_trouble: Told each error that is waited out.

    Returns:
        The file's row. Where the service keeps failing on this file and yet scores a test picture, the file gets the
        blame: one that kills the model process must not hold up all others.

    Raises:
        ServiceError: If the service does not come back; the file has no answer, and so no row.
    """
    error = await _attempt(path, detector, stamp, patience, on_trouble)
    if isinstance(error, Row):
        return error
    if isinstance(error, OverloadedError):
        raise error
    await detector.health()
    return failed(path, error, stamp)


async def _attempt(
    path: str, detector: AsyncDetector, stamp: Stamp, patience: float, on_trouble: Callable[[ServiceError], None]
) -> Row | ServiceError:
    deadline = time.monotonic() + patience
    pause = _FIRST_PAUSE
    while True:
        try:
            return scored(path, await detector.predict(path), stamp)
        except ImageError as error:
            return failed(path, error, stamp)
        except _PASSING as error:
            if time.monotonic() + pause > deadline:
                return error
            on_trouble(error)
        except ServiceError as error:
            return error
        # Spread out, or all that were refused together would come back together.
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
        pause = min(2 * pause, _LONGEST_PAUSE)
