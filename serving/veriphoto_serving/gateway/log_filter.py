"""Keeps faults from flooding the log: a line for each cause and minute, without what a caller may have sent."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

_LOGGERS: Final = (
    "veriphoto_serving.gateway.middleware.request",
    "veriphoto_serving.gateway.answering.scoring",
    "uvicorn.error",
    "asyncio",
)
_MINUTE: Final = 60.0


class LogFilter(logging.Filter):
    """Lets one record a minute pass for each cause: the place that logs and the error it is about.

    Of an error only type and place are left: its text and its stack could show what a caller sent.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts counting.

        Args:
            clock: Seconds that never run backwards.
        """
        super().__init__()
        self._clock = clock
        self._causes: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See ``logging.Filter``. What was left out is counted in the next line of its cause."""
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
        # asyncio writes further lines with the representation of what failed.
        text = record.getMessage().strip().partition("\n")[0]
        if error is not None:
            text += f" [{kind}{_place(error)}]"
        if left_out:
            text += f" ({left_out} more like it since this was last said)"
        record.msg, record.args, record.exc_info, record.exc_text = text, (), None, None
        return True


def _place(error: BaseException) -> str:
    steps = traceback.extract_tb(error.__traceback__)
    return f" in {Path(steps[-1].filename).name}:{steps[-1].lineno}" if steps else ""


def filter_logs() -> None:
    """Puts one filter before every logger that a caller can make write; does nothing where there is one already."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, LogFilter) for each in logger.filters):
            logger.addFilter(LogFilter())
