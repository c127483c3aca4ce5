"""Runs a scan: walks the folders, keeps a few requests in flight, and writes a row for each file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from veriphoto.errors import OverloadedError
from veriphoto_client.commandline.options import option
from veriphoto_client.scan.output import Output, open_output
from veriphoto_client.scan.patience import score
from veriphoto_client.scan.pictures import may_be_picture
from veriphoto_client.scan.progress import ScanProgress
from veriphoto_client.scan.report import ScanReport
from veriphoto_client.scan.resume import Standing, file_key
from veriphoto_client.scan.rows import Row, failed
from veriphoto_client.scan.stamps import UNKNOWN, Stamp, stamp_of
from veriphoto_client.scan.walk import Found, walk
from veriphoto_client.sdk.asynchronous import AsyncDetector


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanOptions:
    """The settings of a scan."""

    paths: Sequence[Path] = ()
    """Files and folders, walked recursively."""
    output: Path | None = None
    """A ``.csv`` or ``.jsonl`` file, which is continued if it exists; None for standard output."""
    force: bool = False
    """Whether to score files again that have not changed since their row was written."""
    in_flight: int = 8
    """Requests in flight, and so files in memory, at a time."""
    patience: float = option(
        60.0,
        "Seconds to wait for a server that is overloaded or away before the scan stops.",
        panel="A server",
        least=0,
    )


async def scan(options: ScanOptions, detector: AsyncDetector, console: Console, report: ScanReport) -> None:
    """Scans folders.

    Args:
        options: The settings of the scan.
        detector: The detector to ask. It must allow ``options.in_flight`` requests at a time.
        console: Console for the progress bar.
        report: Updated as rows are written, also if the scan does not finish.

    Raises:
        UsageError: If the output cannot be used, or cannot be rewritten at the end.
        ServiceError: If the service is away and does not come back. Files without an answer have no row, so the
            same scan, run again, continues with them.
    """
    report.model_version = await _require_service(detector)
    with open_output(options.output) as output:
        report.failed_before = output.earlier.failed
        started = time.monotonic()
        try:
            with ScanProgress(console) as progress:
                await _run(options, detector, output, progress, report)
        finally:
            report.seconds = time.monotonic() - started


async def _require_service(detector: AsyncDetector) -> int | None:
    with contextlib.suppress(OverloadedError):  # it is busy, but there, and the scan retries
        return (await detector.health()).model_version
    return None


async def _run(
    options: ScanOptions, detector: AsyncDetector, output: Output, progress: ScanProgress, report: ScanReport
) -> None:
    async def work() -> None:
        while task := await following():
            row = await _row(task, options, detector, progress)
            output.write(row, replaces=task.standing is not Standing.NEW)
            report.add(row, task.standing)
            progress.advance()

    async def following() -> _Task | None:
        # In a thread: between two files to score there may be a million that have not changed, or a slow disk, while
        # the answers to other files come in and time out.
        async with turn:
            return await asyncio.to_thread(next, todo, None)

    stop, turn = threading.Event(), asyncio.Lock()
    todo = _todo(options, output, report, stop)  # shared: each worker takes the next
    workers = [asyncio.create_task(work()) for _ in range(options.in_flight)]
    # A second walk beside the first only counts the files; nobody reads its report.
    counting = _todo(options, output, ScanReport(), stop)
    counter = asyncio.create_task(asyncio.to_thread(_count, counting, stop, progress.set_total))
    try:
        await asyncio.gather(*workers)
    finally:
        stop.set()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, counter, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Task:
    found: Found
    stamp: Stamp
    standing: Standing


async def _row(task: _Task, options: ScanOptions, detector: AsyncDetector, progress: ScanProgress) -> Row:
    path = os.path.abspath(task.found.path)  # noqa: PTH100  Path.resolve would follow links
    if task.found.error is not None:
        return failed(path, task.found.error, task.stamp)
    return await score(path, detector, stamp=task.stamp, patience=options.patience, on_trouble=progress.trouble)


def _todo(options: ScanOptions, output: Output, report: ScanReport, stop: threading.Event) -> Iterator[_Task]:
    """Yields the files to score until it is told to stop, and counts the others in the report."""
    earlier = output.earlier

    def listed(folder: str) -> None:
        if earlier.failed and earlier.standing(folder, UNKNOWN) is Standing.FAILED:
            output.listed.add(file_key(folder))

    for found in walk(options.paths, leave_out=options.output, on_listed=listed):
        if stop.is_set():
            return
        if not found.named and found.error is None and not may_be_picture(found.path):
            report.skipped += 1
            continue
        stamp = stamp_of(found.path)  # before it is read, so that a write in between counts as a change
        standing, version = earlier.look_up(found.path, stamp)
        if standing is Standing.UNCHANGED and not options.force:
            report.kept[version] += 1
        else:
            yield _Task(found, stamp, standing)


def _count(todo: Iterator[_Task], stop: threading.Event, tell: Callable[[int], None]) -> None:
    total = 0
    for _ in todo:
        total += 1
    if not stop.is_set():
        tell(total)
