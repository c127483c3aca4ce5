"""The replay of days tests many windows at once: held to the monitor, which tests one after another."""

from __future__ import annotations

import numpy as np
from benchmarks import drift
from drift_traffic import draw, reference

from veriphoto_monitoring.drift.detector import DriftDetector
from veriphoto_monitoring.input.features import to_rows
from veriphoto_monitoring.stats.budget import Budget


def test_the_replay_raises_the_alarms_that_the_monitor_raises():
    healthy, budget = reference(), Budget()
    records = draw(6000, 1) + draw(3000, 2, blockier=0.2) + draw(3000, 3, ai_share=0.3)
    rows = to_rows(records)
    replayed = {(one.at, one.window, one.statistic) for one in drift.alarms(rows, np.arange(12_000), healthy, budget)}
    detector = DriftDetector(budget, lambda _: healthy)
    found = set()
    for start in range(0, 12_000, 250):
        changes = detector.add(records[start : start + 250], rows[start : start + 250])
        for _, evaluation in changes.evaluations:
            if evaluation.images == evaluation.window:
                found |= {(start + 250, evaluation.window, one.statistic) for one in evaluation.results if one.alarm}
    assert replayed == found
    assert {statistic for _, _, statistic in found} >= {"blockiness", "mean_probability"}
