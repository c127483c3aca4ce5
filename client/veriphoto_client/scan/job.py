"""One scan: files found go in, rows come out, a few requests are in flight between."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from veriphoto.errors import OverloadedError
from veriphoto_client._async import AsyncDetector
from veriphoto_client.scan.output import Output, open_output
from veriphoto_client.scan.patience import score
from veriphoto_client.scan.progress import ScanProgress
from veriphoto_client.scan.rows import Row, failed
from veriphoto_client.scan.walk import Found, walk


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanOptions:
    """What to scan and how."""

    paths: Sequence[Path]
    """Files and folders, walked recursively."""
    output: Path | None = None
    """A ``.csv`` or ``.jsonl`` file, resumed if it exists; None for standard output."""
    in_flight: int = 8
    """Requests, and so files in memory, at a time."""
    patience: float = 60.0
    """Seconds to wait for a service that is overloaded or away before the scan stops."""


@dataclass(kw_only=True, slots=True)
class ScanReport:
    """What a scan has done so far."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Files scored in this run, by verdict."""
    failed: int = 0
    """Files of this run that have an error in their row."""
    earlier: int = 0
    """Rows that the output held already."""
    earlier_failed: int = 0
    """Those of them with an error."""
    seconds: float = 0.0

    @property
    def scored(self) -> int:
        """Files scored in this run."""
        return self.verdicts.total()

    @property
    def complete(self) -> bool:
        """Whether no row, of this run or an earlier one, holds an error."""
        return not self.failed and not self.earlier_failed

    def add(self, row: Row) -> None:
        """Counts a row."""
        if row.error:
            self.failed += 1
        else:
            self.verdicts[str(row.verdict)] += 1

    def summary(self) -> str:
        """Returns one line for people."""
        kinds = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.verdicts.items()))
        rate = (self.scored + self.failed) / self.seconds if self.seconds else 0.0
        before = f" ({self.earlier} rows were there already)" if self.earlier else ""
        shown = f" ({kinds})" if kinds else ""
        return (
            f"{self.scored + self.failed} files in {self.seconds:.1f} s, {rate:.1f} images/s: "
            f"{self.scored} scored{shown}, {self.failed} failed{before}"
        )


async def scan(options: ScanOptions, detector: AsyncDetector, console: Console, report: ScanReport) -> None:
    """Scans folders.

    Args:
        options: What to scan and how.
        detector: Whom to ask; allows at least ``options.in_flight`` requests.
        console: Where the progress bar goes.
        report: Filled in as rows are written, also where the scan does not reach its end.

    Raises:
        UsageError: If the output cannot be used.
        ServiceError: If the service is not there, or goes and does not come back. Files without an answer have no
            row, so the same scan run again goes on with them.
    """
    await _knock(detector)
    with open_output(options.output) as output:
        report.earlier, report.earlier_failed = len(output.earlier), output.earlier.failed
        started = time.monotonic()
        try:
            with ScanProgress(console) as progress:
                await _run(options, detector, output, progress, report)
        finally:
            report.seconds = time.monotonic() - started


async def _knock(detector: AsyncDetector) -> None:
    with contextlib.suppress(OverloadedError):  # then it is there, and the scan has patience
        await detector.health()


async def _run(
    options: ScanOptions, detector: AsyncDetector, output: Output, progress: ScanProgress, report: ScanReport
) -> None:
    def finish(row: Row) -> None:
        output.write(row)
        report.add(row)
        progress.advance()

    async def work() -> None:
        for found in todo:
            finish(await _row(found, options, detector, progress))

    todo = _todo(options, output)  # shared: each worker takes the next
    stop = threading.Event()
    workers = [asyncio.create_task(work()) for _ in range(options.in_flight)]
    counter = asyncio.create_task(asyncio.to_thread(_count, _todo(options, output), stop, progress.set_total))
    try:
        await asyncio.gather(*workers)
    finally:
        stop.set()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, counter, return_exceptions=True)


async def _row(found: Found, options: ScanOptions, detector: AsyncDetector, progress: ScanProgress) -> Row:
    if found.error is not None:
        return failed(found.path, found.error)
    return await score(found.path, detector, patience=options.patience, on_trouble=progress.trouble)


def _todo(options: ScanOptions, output: Output) -> Iterator[Found]:
    return (found for found in walk(options.paths, leave_out=options.output) if found.path not in output.earlier)


def _count(todo: Iterator[Found], stop: threading.Event, tell: Callable[[int], None]) -> None:
    total = 0
    for _ in todo:
        total += 1
        if stop.is_set():
            return
    tell(total)
