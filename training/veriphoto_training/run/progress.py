"""The progress bar of a run; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Shows steps, loss, images/s and the time left."""

    def __init__(self, *, quiet: bool = False, every: float = 20.0) -> None:
        """Chooses a bar or lines.

        Args:
            quiet: Show nothing.
            every: Seconds between lines where the output is no terminal.
        """
        self._quiet, self._every = quiet, every
        self._console = Console(stderr=True, quiet=quiet)
        self._bar: Bar | None = None
        self._total, self._batch, self._last = 0, 1, 0.0

    def start(self, total: int, done: int, batch: int) -> None:
        """Shows an empty bar.

        Args:
            total: Steps of the run.
            done: Steps already done by a run that was killed.
            batch: Pictures per step.
        """
        self._total, self._batch, self._last = total, batch, time.monotonic()
        if self._console.is_terminal and not self._quiet:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._bar = Bar(*columns, console=self._console)
            self._bar.start()
            self._bar.add_task("", total=total, completed=done)

    def update(self, step: int, loss: float, speed: float, waited: float | None = None) -> None:
        """Shows one step.

        Args:
            step: Number of the step, from 1.
            loss: Loss of the step.
            speed: Images/s so far.
            waited: Share of the time so far that the network waited for data.
        """
        text = f"loss {loss:.4f}  {speed:.1f} images/s"
        if waited is not None:
            text += f"  {waited:.1%} waiting for data"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, description=text)
        elif time.monotonic() - self._last > self._every:
            self._last = time.monotonic()
            left = (self._total - step) * self._batch / max(speed, 1e-9)
            self.note(f"step {step}/{self._total}  {text}  {left / 60:.1f} min left")

    def note(self, text: str) -> None:
        """Prints a line."""
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)
            sys.stderr.flush()

    def stop(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
