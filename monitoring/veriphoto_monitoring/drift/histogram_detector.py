"""Detects drift from the server's metrics alone, for when its log cannot be read.

The recorder counts every picture into histogram buckets. A window's distribution function is therefore known at the
bucket bounds only, and the reference is compared with it there: the same tests and thresholds, slightly less sensitive,
and without request ids and the share of low confidence, which only the log has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from veriphoto.prediction_log.metrics import HISTOGRAMS
from veriphoto_monitoring.drift.alarms import Alarm
from veriphoto_monitoring.drift.detector import References, known
from veriphoto_monitoring.drift.history import VERSIONS
from veriphoto_monitoring.drift.results import (
    Changes,
    Result,
    WindowEvaluation,
    alarm_of,
    follow,
    forget,
    judge_statistic,
)
from veriphoto_monitoring.input.features import Floats, Monitored
from veriphoto_monitoring.input.scrape import Counts, join
from veriphoto_monitoring.stats.budget import LEAST, WINDOWS, Budget
from veriphoto_monitoring.stats.distributions import Distribution, Numbers, Reference
from veriphoto_monitoring.stats.testing import examine

_SMALL: Final = 100
"""Scrapes are merged while together they hold no more pictures than this."""


class HistogramDetector:
    """Windows of the counts between scrapes, by model version."""

    def __init__(self, budget: Budget, references: References, alarms: Iterable[Alarm] = ()) -> None:
        """Starts without pictures; takes the same arguments as ``DriftDetector``."""
        self._budget = budget
        self._references = references
        self.alarms = {alarm.key: alarm for alarm in alarms}
        self.evaluations: dict[tuple[int, int], WindowEvaluation] = {}
        self.blocks: dict[int, list[Counts]] = {}
        """By version; those counted last stand last."""
        self.seen: dict[int, int] = {}
        self.version: int | None = None
        self._tested: dict[tuple[int, int], int] = {}

    def refer(self) -> Changes:
        """Tests all windows anew because a reference has changed; alarms against the old ones end."""
        self.alarms.clear()
        self.evaluations.clear()
        changes = Changes([], [])
        for version in self.blocks:
            if (reference := self._references(version)) is not None:
                for window in WINDOWS:
                    changes.extend(self._evaluate(version, window, reference))
        return changes

    def add(self, counted: Mapping[int, Counts]) -> Changes:
        """Adds what was counted since the last scrape, tests what is due, and forgets all but the latest versions."""
        changes = Changes([], [])
        for version, counts in counted.items():
            self.blocks[version] = blocks = self.blocks.pop(version, [])
            if blocks and blocks[-1].images + counts.images <= _SMALL:
                blocks[-1] = join([blocks[-1], counts])
            else:
                blocks.append(counts)
            self.seen[version] = self.seen.get(version, 0) + counts.images
            while sum(one.images for one in blocks[1:]) >= max(WINDOWS):
                del blocks[0]
            reference = self._references(version)
            if reference is None:
                continue
            for window, step in WINDOWS.items():
                if self.seen[version] - self._tested.get((version, window), 0) >= step:
                    self._tested[version, window] = self.seen[version]
                    changes.extend(self._evaluate(version, window, reference))
        if counted:
            self.version = max(counted, key=lambda version: counted[version].images)
        for version in list(self.blocks)[:-VERSIONS]:
            last = self.blocks.pop(version)[-1].last
            self.seen.pop(version, None)
            self._tested = {key: seen for key, seen in self._tested.items() if key[0] != version}
            changes.alarms.extend(forget(version, self.alarms, self.evaluations, last))
        return changes

    def count(self, version: int) -> int:
        """Returns the number of pictures counted for a version."""
        return self.seen.get(version, 0)

    def window(self, version: int, images: int) -> Counts | None:
        """Returns the latest counts of a version: as few scrapes as contain that many pictures."""
        chosen: list[Counts] = []
        for counts in reversed(self.blocks.get(version, [])):
            chosen.append(counts)
            if sum(one.images for one in chosen) >= images:
                break
        return join(chosen) if chosen else None

    def to_json(self) -> dict[str, Any]:
        """Returns the counts as plain JSON values, to resume from after a restart."""
        return {
            "seen": {str(version): seen for version, seen in self.seen.items()},
            "blocks": {
                str(version): [
                    {
                        "first": one.first,
                        "last": one.last,
                        "sum": one.probability_sum,
                        "fields": {name: values.tolist() for name, values in one.fields.items()},
                    }
                    for one in blocks
                ]
                for version, blocks in self.blocks.items()
            },
        }

    def restore(self, body: Mapping[str, Any]) -> None:
        """Resumes from what ``to_json`` returned."""
        self.seen = {int(version): int(seen) for version, seen in body["seen"].items()}
        for version, blocks in body["blocks"].items():
            self.blocks[int(version)] = [
                Counts(
                    first=one["first"],
                    last=one["last"],
                    probability_sum=one["sum"],
                    fields={name: np.array(values, dtype=np.float64) for name, values in one["fields"].items()},
                )
                for one in blocks
            ]
            self.version = int(version)

    def _evaluate(self, version: int, window: int, reference: Reference) -> Changes:
        counts = self.window(version, window)
        if counts is None or counts.images < LEAST:
            return Changes([], [])
        results = []
        for each, found in known(reference):
            result = self._judge(each, found, counts, window)
            results += [result] if result else []
        evaluation = WindowEvaluation(window=window, images=counts.images, time=counts.last, results=tuple(results))
        self.evaluations[version, window] = evaluation
        alarms = [self._follow(version, window, result, counts) for result in results]
        return Changes([(version, evaluation)], [alarm for alarm in alarms if alarm])

    def _judge(self, each: Monitored, found: Distribution, counts: Counts, window: int) -> Result | None:
        if each.column not in counts.fields:
            return None
        summary: Floats = counts.fields[each.column]
        if isinstance(found, Numbers):
            found = coarse(found, HISTOGRAMS[each.column][2])
        elif each.kind == "mean":
            summary = np.array([counts.probability_sum])
        return judge_statistic(each, found, examine(found, summary, counts.images), window, counts.images, self._budget)

    def _follow(self, version: int, window: int, result: Result, counts: Counts) -> Alarm | None:
        seen, last = self.seen[version], counts.last
        return follow(
            self.alarms,
            (version, window, result.statistic),
            result,
            seen,
            last,
            lambda: alarm_of(result, (version, window), seen, raised=last, since=counts.first, ids=(), cause="unknown"),
            lambda: "unknown",
        )


def coarse(found: Numbers, bounds: Iterable[float]) -> Numbers:
    """Reduces a distribution to the bounds of a histogram.

    Args:
        found: The distribution.
        bounds: Upper bounds of B buckets, ascending, without the open last one.

    Returns:
        A distribution with B + 1 cells, one per bucket, and no grid of its own.
    """
    cells = found.cells(np.array(list(bounds)))
    # A bound inside a cell: the function lies between its values at the cell's two ends.
    at_value = cells % 2 == 1
    before = np.where(cells > 0, found.lower[np.maximum(cells - 1, 0)], 0.0)
    lower = np.append(np.where(at_value, found.lower[cells], before), 1.0)
    upper = np.append(found.upper[cells], 1.0)
    return Numbers(size=found.size, values=np.empty(0), lower=lower, upper=upper, inflation=found.inflation)
