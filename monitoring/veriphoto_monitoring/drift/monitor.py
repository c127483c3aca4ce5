"""Turns new lines of the log, or else the server's metrics, into alarms. Runs on one thread."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

from veriphoto_monitoring.drift.alarms import Alarm
from veriphoto_monitoring.drift.detector import DriftDetector
from veriphoto_monitoring.drift.histogram_detector import HistogramDetector
from veriphoto_monitoring.drift.results import Changes, WindowEvaluation
from veriphoto_monitoring.drift.store import Store
from veriphoto_monitoring.input.features import to_rows
from veriphoto_monitoring.input.scraper import Scraper
from veriphoto_monitoring.input.tail import Chunk, Tail
from veriphoto_monitoring.reference.sources import Sources
from veriphoto_monitoring.stats.budget import LEAST, WINDOWS, Budget

Source = Literal["log", "metrics"]

RECORDS: Final = "records"
BAD_LINES: Final = "bad_lines"
LAST_TIME: Final = "last_time"
_SCRAPER: Final = "scraper"
_HISTOGRAMS: Final = "metered"  # the key in existing stores
_SOURCE: Final = "source"
_SWITCHED: Final = "switched"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """The last change between log and metrics."""

    time: float
    """Time of the scrape or record that caused it, seconds since the epoch."""
    why: str
    alarms: int
    """Number of alarms that were open and stayed open."""


class DriftMonitor:
    """Feeds the log, or the metrics where there is no log, to a detector and keeps the results in the store."""

    def __init__(self, store: Store, log: Path, sources: Sources, budget: Budget, scraper: Scraper) -> None:
        """Resumes from the store.

        Args:
            store: The store, used by this monitor alone.
            log: Directory of the prediction log.
            sources: Where references come from.
            budget: How many false alarms are allowed.
            scraper: Reads the servers' metrics.
        """
        self.store = store
        self.sources = sources
        self.scraper = scraper
        self.tail = Tail(log, store.offsets())
        self.source: Source = "metrics" if store.state(_SOURCE) == "metrics" else "log"
        """The source of the data that alarms are currently based on."""
        switched = store.state(_SWITCHED)
        self.switched = Switch(**switched) if switched else None
        alarms = store.alarms(open_only=True)
        self.detector = DriftDetector(budget, sources.reference, alarms if self.source == "log" else ())
        self.histogram_detector = HistogramDetector(
            budget, sources.reference, alarms if self.source == "metrics" else ()
        )
        self._unlogged = 0
        """Pictures counted by the servers since the log last delivered a record."""
        self._delivered = False
        """Whether the log has delivered a record since the last scrape."""
        self._restore()

    @property
    def _watching(self) -> DriftDetector | HistogramDetector:
        return self.detector if self.source == "log" else self.histogram_detector

    @property
    def version(self) -> int | None:
        """The model version that answered last."""
        return self._watching.version

    def alarms(self) -> list[Alarm]:
        """Returns the open alarms of the version that answered last."""
        return [alarm for alarm in self._watching.alarms.values() if alarm.model_version == self.version]

    def evaluations(self) -> dict[int, WindowEvaluation]:
        """Returns the latest test of each window of the version that answered last."""
        found = self._watching.evaluations.items()
        return {window: evaluation for (version, window), evaluation in found if version == self.version}

    def work(self, seconds: float = 1.0) -> bool:
        """Processes what is new in the log.

        Args:
            seconds: Stop after about this time, so that scraping and the web server get their turn.

        Returns:
            Whether the log has been read to its end.
        """
        if self.sources.changed():
            self._refer()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self._read():
                return True
        return False

    def scrape(self, now: float) -> None:
        """Scrapes the servers. If the log is gone, or stalls while they count pictures, their metrics replace it.

        Args:
            now: Seconds since the epoch.
        """
        counted = self.scraper.scrape(now)
        images = sum(counts.images for counts in counted.values())
        reachable = self.tail.reachable()
        if reachable and not self._delivered and self._unlogged + images >= LEAST:
            self._read()  # unread lines may be queued; only a log that was read to its end can stand still
        # The log covers every interval in which it delivered records, however many pictures were counted.
        self._unlogged = 0 if self._delivered else self._unlogged + images
        self._delivered = False
        if self.source == "log" and self._unlogged and not reachable:
            self._switch("metrics", now, "the log cannot be read")
        elif self.source == "log" and self._unlogged >= LEAST:
            self._switch("metrics", now, f"the log stands still while {self._unlogged} pictures were counted")
        changes = self.histogram_detector.add(counted)
        with self.store.transaction():
            self.store.put_state(_SCRAPER, self.scraper.to_json())
            if counted:
                self.store.put_state(_HISTOGRAMS, self.histogram_detector.to_json())
            if self.source == "metrics":
                self._note(changes)

    def _read(self) -> bool:
        chunk = self.tail.read()
        if chunk is not None:
            self._take(chunk)
        return chunk is not None

    def _take(self, chunk: Chunk) -> None:
        rows = to_rows(chunk.records)
        if chunk.records:
            self._delivered = True
            if self.source == "metrics":
                self._switch("log", chunk.records[-1].time, "there are records again")
        changes = self.detector.add(chunk.records, rows)
        with self.store.transaction():
            self.store.advance(chunk.segment, chunk.offset)
            self.store.count(BAD_LINES, chunk.bad)
            if chunk.records:
                self.store.add(chunk.records, rows)
                self.store.count(RECORDS, len(chunk.records))
                self.store.put_state(LAST_TIME, chunk.records[-1].time)
            self._note(changes)

    def _switch(self, source: Source, now: float, why: str) -> None:
        """Changes the source of the alarms. The pictures have not changed with it, so open alarms stay open."""
        before, self.source = self._watching, source
        after = self._watching
        # Each source has its own picture count: an alarm ends after a whole clean window of the new source.
        after.alarms = {key: replace(one, seen=after.count(key[0])) for key, one in before.alarms.items()}
        before.alarms = {}
        self.switched = Switch(time=now, why=why, alarms=len(after.alarms))
        name = "log" if source == "log" else "server's metrics"
        _log.warning("drift is now watched by the %s: %s; %d alarms stay open", name, why, len(after.alarms))
        with self.store.transaction():
            self.store.put_state(_SOURCE, source)
            self.store.put_state(_SWITCHED, asdict(self.switched))
            for alarm in after.alarms.values():
                self.store.put_alarm(alarm)

    def _refer(self) -> None:
        _log.info("the reference has changed; windows are tested against the new one")
        changes = {"log": self.detector.refer(), "metrics": self.histogram_detector.refer()}
        with self.store.transaction():
            self.store.end_alarms(float(self.store.state(LAST_TIME) or time.time()))
            self._note(changes[self.source])

    def _note(self, changes: Changes) -> None:
        for version, evaluation in changes.evaluations:
            self.store.put_evaluation(version, evaluation)
        for alarm in changes.alarms:
            self.store.put_alarm(alarm)
            if alarm.ended is not None:
                _log.info("the alarm on %s over %d images has ended", alarm.statistic, alarm.window)

    def _restore(self) -> None:
        for version, seen, _ in self.store.versions():
            rows, times, ids = self.store.last(version)
            if not ids:
                continue
            self.detector.history(version, seen - len(ids)).append(rows, times, ids)
            self.detector.version = version
            for window in WINDOWS:
                for evaluation in self.store.evaluations(version, window, 1):
                    self.detector.evaluations[version, window] = evaluation
        if (body := self.store.state(_SCRAPER)) is not None:
            self.scraper.restore(body)
        if (body := self.store.state(_HISTOGRAMS)) is not None:
            self.histogram_detector.restore(body)
