"""The progress of a scan on standard error: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from veriphoto.errors import ServiceError

LOG_EVERY_S: Final = 10.0


class ScanProgress:
    """Shows files done, images per second and, once all files are counted, the time left."""

    def __init__(self, console: Console, every: float = LOG_EVERY_S) -> None:
        """Prepares the bar; it shows inside a ``with`` statement.

        Args:
            console: Console to show it on.
            every: Seconds between lines if the console is not a terminal.
        """
        self._lines = None if console.is_terminal else console
        self._every = every
        self._started = self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate("rate"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # or it would be drawn ten times a second for nobody
        )
        self._task = self._bar.add_task("scanning", total=None)
        self._troubled = False

    def advance(self) -> None:
        """Counts one file."""
        if self._troubled:
            self._troubled = False
            self._bar.update(self._task, description="scanning")
        self._bar.advance(self._task)
        if self._lines is not None and time.monotonic() - self._said >= self._every:
            self._say(self._line())

    def set_total(self, total: int) -> None:
        """Sets the total number of files. Other threads may call it."""
        self._bar.update(self._task, total=total)

    def trouble(self, error: ServiceError) -> None:
        """Shows the error because of which the scan is waiting."""
        if self._lines is not None and not self._troubled:
            self._say(f"{self._line()}; waiting: {error.to_wire()}")
        self._troubled = True
        self._bar.update(self._task, description=f"waiting ({error.code})")

    def _line(self) -> str:
        task = self._bar.tasks[0]
        rate = task.completed / max(time.monotonic() - self._started, 1e-6)
        if task.total is None:
            return f"{task.completed:,.0f} files done, {rate:.1f} images/s"
        left = duration((task.total - task.completed) / rate) if rate else "unknown time"
        return f"{task.completed:,.0f} of {task.total:,.0f} files done, {rate:.1f} images/s, {left} left"

    def _say(self, line: str) -> None:
        if self._lines is not None:
            self._said = time.monotonic()
            self._lines.print(line, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> ScanProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class _Rate(TextColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0.0:.1f} images/s", style="progress.data.speed")


def duration(seconds: float) -> str:
    """Formats a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
