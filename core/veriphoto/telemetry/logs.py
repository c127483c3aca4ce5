"""One way to log for every long-running process: JSON lines, and readable ones where a person reads them."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

from veriphoto.environment import Variable
from veriphoto.errors import UsageError

_FORMATS: Final = ("auto", "json", "text")


def configure(process: str) -> None:
    """Sends the logs of this process, those of its libraries included, to standard error.

    Lines are readable at a terminal and JSON elsewhere, unless ``VERIPHOTO_LOG_FORMAT`` chooses ``json`` or ``text``.
    Libraries log warnings and errors only. May be called again, for libraries that have added handlers meanwhile.

    Args:
        process: Name of the process, which is in every JSON line.

    Raises:
        UsageError: If the variable holds anything else.
    """
    chosen = os.environ.get(Variable.LOG_FORMAT) or "auto"
    if chosen not in _FORMATS:
        raise UsageError(f"{Variable.LOG_FORMAT}: there is no format {chosen!r}; choose one of {', '.join(_FORMATS)}")
    readable = chosen == "text" or (chosen == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(process, readable=readable))
    handler.addFilter(_worth_a_line)
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):  # uvicorn and Streamlit bring handlers of their own
            logger.handlers.clear()
            logger.propagate = True
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.INFO)


def _worth_a_line(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.startswith("veriphoto")


def _formatter(process: str, *, readable: bool) -> logging.Formatter:
    import structlog  # noqa: PLC0415 - keeps commands that log nothing light
    from structlog.typing import EventDict, Processor, WrappedLogger  # noqa: PLC0415

    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, "process": process}

    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=not readable),
    ]
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    ending: list[Processor] = (
        [strip, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if readable
        else [
            strip,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    )
    if not readable:
        common += [structlog.stdlib.add_logger_name, add_process]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=ending)
