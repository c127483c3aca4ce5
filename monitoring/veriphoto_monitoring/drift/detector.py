"""Detects drift in records: tests windows of the newest pictures, and raises and ends alarms.

Uses no clock, files or network: the same records in the same order give the same alarms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial

import numpy as np

from veriphoto.prediction_log.record import Record
from veriphoto_monitoring.drift.alarms import Alarm, trace
from veriphoto_monitoring.drift.history import VERSIONS, History
from veriphoto_monitoring.drift.results import (
    Changes,
    Result,
    WindowEvaluation,
    alarm_of,
    follow,
    forget,
    judge_statistic,
)
from veriphoto_monitoring.input.features import MONITORED, Floats, Monitored
from veriphoto_monitoring.stats import prior_shift
from veriphoto_monitoring.stats.budget import LEAST, WINDOWS, Budget
from veriphoto_monitoring.stats.distributions import Distribution, Mean, Reference
from veriphoto_monitoring.stats.testing import Tested, examine, summarise

References = Callable[[int], Reference | None]
"""Gives the reference of a model version."""


class DriftDetector:
    """The windows of all model versions, and their alarms."""

    def __init__(self, budget: Budget, references: References, alarms: Iterable[Alarm] = ()) -> None:
        """Starts without pictures.

        Args:
            budget: How many false alarms are allowed.
            references: Asked once for each version, and again at ``refer``.
            alarms: Alarms that were open when the monitor stopped.
        """
        self._budget = budget
        self._references = references
        self.histories: dict[int, History] = {}
        """By version; the version of the newest answer stands last."""
        self.alarms = {alarm.key: alarm for alarm in alarms}
        self.evaluations: dict[tuple[int, int], WindowEvaluation] = {}
        self.version: int | None = None
        """The model version of the newest answer."""

    def history(self, version: int, seen: int = 0) -> History:
        """Returns a version's pictures; a new version starts empty, after ``seen`` earlier pictures."""
        if version not in self.histories:
            self.histories[version] = History(self._references(version), seen)
        return self.histories[version]

    def count(self, version: int) -> int:
        """Returns how many pictures of a version were seen."""
        return self.histories[version].seen if version in self.histories else 0

    def refer(self) -> Changes:
        """Reloads all references because one has changed; alarms against the old ones end."""
        self.alarms.clear()
        self.evaluations.clear()
        changes = Changes([], [])
        for version, history in self.histories.items():
            history.refer(self._references(version))
            changes.extend(self._evaluate(version, WINDOWS))
        return changes

    def add(self, records: Sequence[Record], rows: Floats) -> Changes:
        """Adds new records and tests every window that is due; forgets all but the versions that answered last.

        Args:
            records: N records in the order in which they came.
            rows: The same as rows [N, WIDTH].

        Returns:
            All tests made, and every alarm that was raised, continued or ended.
        """
        changes = Changes([], [])
        start = 0
        while start < len(records):
            version = records[start].model_version
            self.version = version
            history = self.history(version)
            self.histories[version] = self.histories.pop(version)
            room = min(step - history.seen % step for step in WINDOWS.values())
            end = start
            while end < len(records) and end - start < room and records[end].model_version == version:
                end += 1
            part = records[start:end]
            times = np.array([record.time for record in part])
            history.append(rows[start:end], times, [record.request_id for record in part])
            due = [window for window, step in WINDOWS.items() if history.seen % step == 0]
            changes.extend(self._evaluate(version, due))
            start = end
        for version in list(self.histories)[:-VERSIONS]:
            del self.histories[version]
            changes.alarms.extend(forget(version, self.alarms, self.evaluations, records[-1].time))
        return changes

    def _evaluate(self, version: int, windows: Iterable[int]) -> Changes:
        history, changes = self.histories[version], Changes([], [])
        for window in windows:
            evaluation = self._test(history, window)
            if evaluation is None or history.reference is None:
                continue
            self.evaluations[version, window] = evaluation
            changes.evaluations.append((version, evaluation))
            estimate = cache(partial(prior_shift.estimate, history.reference, history.rows(window)))
            followed = [self._follow(version, window, result, history, estimate) for result in evaluation.results]
            changes.alarms.extend(alarm for alarm in followed if alarm)
        return changes

    def _test(self, history: History, window: int) -> WindowEvaluation | None:
        images = min(len(history), window)
        if images < LEAST or history.reference is None:
            return None
        results = [
            judge_statistic(each, found, _tested(each, found, history, images), window, images, self._budget)
            for each, found in known(history.reference)
        ]
        return WindowEvaluation(window=window, images=images, time=float(history.times(1)[0]), results=tuple(results))

    def _follow(
        self,
        version: int,
        window: int,
        result: Result,
        history: History,
        estimate: Callable[[], prior_shift.Share | None],
    ) -> Alarm | None:
        each = next(one for one in MONITORED if one.name == result.statistic)
        rows, reference = history.rows(window), history.reference
        assert reference is not None  # noqa: S101 - nothing is tested without one

        def cause() -> prior_shift.Cause:
            return prior_shift.cause(each, reference, rows, estimate())

        return follow(
            self.alarms,
            (version, window, result.statistic),
            result,
            history.seen,
            float(history.times(1)[0]),
            lambda: self._raise(each, version, window, result, history, cause()),
            cause,
        )

    def _raise(
        self, each: Monitored, version: int, window: int, result: Result, history: History, cause: prior_shift.Cause
    ) -> Alarm:
        assert history.reference is not None  # noqa: S101 - nothing is tested without one
        found = history.reference.distributions[each.name]
        images = min(len(history), window)
        since, ids = trace(each, found, history, _tested(each, found, history, images), images)
        raised = float(history.times(1)[0])
        return alarm_of(result, (version, window), history.seen, raised=raised, since=since, ids=ids, cause=cause)


def known(reference: Reference) -> list[tuple[Monitored, Distribution]]:
    """Returns the statistics that a reference has a distribution for."""
    return [(each, reference.distributions[each.name]) for each in MONITORED if each.name in reference.distributions]


def _tested(each: Monitored, found: Distribution, history: History, images: int) -> Tested:
    if isinstance(found, Mean):
        return examine(found, summarise(found, history.rows(images)[:, each.index]), images)
    cells = history.cells(MONITORED.index(each), images)
    return examine(found, summarise(found, cells, coded=True), images)
