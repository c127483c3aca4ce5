"""Scores one file, and waits for a service that is overloaded or away."""

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
        detector: The detector to ask. It must not retry itself.
        stamp: Size and time of the file before it is read.
        patience: Seconds for which to retry.
        on_trouble: Called with each error that leads to a retry.

    Returns:
        The file's row. If the service keeps failing on this file but scores a test photo, the row holds the error: a
        file that kills the model's process must not stop the scan.

    Raises:
        ServiceError: If the service does not come back; the file then has no row.
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
