"""The sidecar's work: from new lines of the log to what is said about them. One thread, no network."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from veriphoto_monitoring.budget import WINDOWS, Budget
from veriphoto_monitoring.columns import to_rows
from veriphoto_monitoring.detector import Changes, Detector
from veriphoto_monitoring.sources import Sources
from veriphoto_monitoring.store import Store
from veriphoto_monitoring.tail import Chunk, Tail

RECORDS: Final = "records"
BAD_LINES: Final = "bad_lines"
LAST_TIME: Final = "last_time"

_log = logging.getLogger(__name__)


class Sidecar:
    """Reads the log into the detector and keeps both in the store."""

    def __init__(self, store: Store, log: Path, sources: Sources, budget: Budget) -> None:
        """Goes on where the store stopped.

        Args:
            store: Of this monitor alone.
            log: Directory of the prediction log.
            sources: Of references.
            budget: Of false alarms.
        """
        self.store = store
        self.sources = sources
        self.tail = Tail(log, store.offsets())
        self.detector = Detector(budget, sources.reference, store.alarms(open_only=True))
        self._restore()

    def work(self, seconds: float = 1.0) -> bool:
        """Takes in what is new.

        Args:
            seconds: Stop after about so long, so that others get their turn.

        Returns:
            Whether everything that was there is done.
        """
        if self.sources.changed():
            self._refer()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            chunk = self.tail.read()
            if chunk is None:
                return True
            self._take(chunk)
        return False

    def _take(self, chunk: Chunk) -> None:
        for version in {record.model_version for record in chunk.records}:
            self.detector.history(version)  # learns its operating point, which rows need
        rows = to_rows(chunk.records, self.sources.points)
        changes = self.detector.add(chunk.records, rows)
        with self.store.transaction():
            self.store.advance(chunk.segment, chunk.offset)
            self.store.count(BAD_LINES, chunk.bad)
            if chunk.records:
                self.store.add(chunk.records, rows)
                self.store.count(RECORDS, len(chunk.records))
                self.store.put_state(LAST_TIME, chunk.records[-1].time)
            self._note(changes)

    def _refer(self) -> None:
        changes = self.detector.refer()
        with self.store.transaction():
            self.store.end_alarms(float(self.store.state(LAST_TIME) or 0.0))
            self._note(changes)
        _log.info("the reference has changed; windows are tested against the new one")

    def _note(self, changes: Changes) -> None:
        for version, evaluation in changes.evaluations:
            self.store.put_evaluation(version, evaluation)
        for alarm in changes.alarms:
            self.store.put_alarm(alarm)
            if alarm.ended is not None:
                _log.info("%s over %d images is back to the reference", alarm.statistic, alarm.window)

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
