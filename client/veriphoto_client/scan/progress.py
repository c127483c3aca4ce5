"""The progress bar of a scan, on standard error."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from veriphoto.errors import ServiceError


class ScanProgress:
    """Shows files done, images a second, and, once all files are counted, the time left."""

    def __init__(self, console: Console) -> None:
        """Prepares the bar; it shows inside a ``with`` statement."""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate("rate"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # else it would be drawn ten times a second for nobody
        )
        self._task = self._bar.add_task("scanning", total=None)
        self._troubled = False

    def advance(self) -> None:
        """Counts one file."""
        if self._troubled:
            self._troubled = False
            self._bar.update(self._task, description="scanning")
        self._bar.advance(self._task)

    def set_total(self, total: int) -> None:
        """Says how many files there are; may be called from another thread."""
        self._bar.update(self._task, total=total)

    def trouble(self, error: ServiceError) -> None:
        """Shows what is being waited out."""
        self._troubled = True
        self._bar.update(self._task, description=f"waiting ({error.code})")

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
