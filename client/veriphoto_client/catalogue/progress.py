"""The progress line of a catalogue scan, for a terminal and for the log of a job."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from rich.console import Console
from rich.status import Status

from veriphoto_client.catalogue.tally import Count
from veriphoto_client.scan.progress import duration

_WINDOW_S: Final = 120.0
_LOG_EVERY_S: Final = 30.0


class Pace:
    """Formats the progress line from counts over time."""

    def __init__(self, total: int, earlier: int, price: float) -> None:
        """Starts to measure, before the first photo.

        Args:
            total: Number of rows in the whole plan.
            earlier: Number of rows written by earlier runs.
            price: Price of one core-hour.
        """
        self._total = total
        self._earlier = earlier
        self._price = price
        self._samples: deque[tuple[float, int]] = deque()

    def line(self, count: Count, now: float) -> str:
        """Returns the progress line.

        Args:
            count: Totals of this run.
            now: Seconds of a monotonic clock.
        """
        self._samples.append((now, count.done))
        while now - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()
        (then, before), left = self._samples[0], self._total - self._earlier - count.done
        rate = (count.done - before) / (now - then) if now > then else 0.0
        done = self._earlier + count.done
        return (
            f"{done:,} of {self._total:,} done, {count.failed:,} failed, {left:,} left, {rate:.1f} images/s, "
            f"{duration(left / rate) if rate else 'unknown time'} left, {cost(count, self._price)}"
        )


def cost(count: Count, price: float) -> str:
    """Returns what a million photos cost, given the price of one core-hour."""
    if not count.done:
        return "cost unknown yet"
    return f"{price * count.seconds / 3600 * 1e6 / count.done:.2f} a million at {price:g} a core-hour"


class ProgressLine:
    """Shows the progress line: in place on a terminal, otherwise as a log line every half minute."""

    def __init__(self, console: Console, pace: Pace) -> None:
        self._console = console
        self._pace = pace
        self._status = Status("starting", console=console) if console.is_terminal else None
        self._logged = time.monotonic()

    def __enter__(self) -> ProgressLine:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def show(self, count: Count) -> None:
        """Updates the line with the totals of this run."""
        now = time.monotonic()
        line = self._pace.line(count, now)
        if self._status:
            self._status.update(line)
        elif now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            self._console.print(line, highlight=False, soft_wrap=True)
