"""Scoring one file through the service's bad moments."""

from __future__ import annotations

from collections.abc import Callable

from veriphoto.errors import ImageError, OverloadedError, ServiceError
from veriphoto_client.scan.rows import Row, failed, scored
from veriphoto_client.scan.stamps import UNKNOWN, Stamp
from veriphoto_client.sdk.asynchronous import AsyncDetector
from veriphoto_client.sdk.retry import patiently


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
        detector: Whom to ask; without patience of its own.
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
    try:
        detection = await patiently(lambda: detector.predict(path), lambda: patience, on_trouble)
        return scored(path, detection, stamp)
    except ImageError as error:
        return failed(path, error, stamp)
    except ServiceError as error:
        return error
