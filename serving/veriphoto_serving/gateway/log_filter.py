"""Keeps faults from flooding the log: one line per cause and minute, without anything that a caller sent."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOGGERS: Final = (
    "veriphoto_serving.gateway.middleware.request",
    "veriphoto_serving.gateway.answering.scoring",
    "veriphoto_serving.gateway.services",
    "uvicorn.error",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "asyncio",
)
_MINUTE: Final = 60.0


class LogFilter(logging.Filter):
    """Passes one record per minute for each cause, which is a place in the code and the type of the error.

    Only an error's type and place are logged: its text and its stack could show what a caller sent.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts counting.

        Args:
            clock: A monotonic clock, in seconds.
        """
        super().__init__()
        self._clock = clock
        self._causes: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Implements ``logging.Filter``; adds the fields ``error``, ``error_at`` and, after some, ``suppressed``."""
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[1] if record.exc_info else None
        kind = type(error).__name__ if error is not None else ""
        cause = (record.pathname, record.lineno, kind)
        now = self._clock()
        said, left_out = self._causes.get(cause, (float("-inf"), 0))
        if now - said < _MINUTE:
            self._causes[cause] = (said, left_out + 1)
            return False
        self._causes[cause] = (now, 0)
        # asyncio appends lines with the representation of the object that failed.
        record.msg = record.getMessage().strip().partition("\n")[0]
        record.args, record.exc_info, record.exc_text = (), None, None
        if error is not None:
            vars(record).update(error=kind, error_at=_place(error))
        if left_out:
            vars(record).update(suppressed=left_out)
        return True


def _place(error: BaseException) -> str:
    steps = traceback.extract_tb(error.__traceback__)
    return f"{Path(steps[-1].filename).name}:{steps[-1].lineno}" if steps else ""


def filter_logs() -> None:
    """Adds a filter to every logger that callers can trigger, unless it already has one."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, LogFilter) for each in logger.filters):
            logger.addFilter(LogFilter())
