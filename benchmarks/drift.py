"""Replays days through the drift detection: how often it cries wolf, and how long it takes to see a change.

    python -m benchmarks.drift_pool --photos data/photos    # once
    python -m benchmarks.drift --days 1000 --runs 300

Days are drawn from the shipped model's real scores of photos it was not trained on (see ``drift_population``). The
tests, thresholds and budget are the sidecar's own; only the loop around them is another one, which counts every window
of a day at once (a test holds it to the sidecar's loop). Five days or runs share a reference, the next five have
another. Writes ``benchmarks/results/drift.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from benchmarks.drift_population import SHIFTS, Population, Shift
from scipy import stats

from veriphoto.contract import CLASSIFIER
from veriphoto.manifest import latest_version, read_manifest
from veriphoto_monitoring.input.features import MONITORED
from veriphoto_monitoring.stats import prior_shift
from veriphoto_monitoring.stats.budget import WINDOWS, Budget
from veriphoto_monitoring.stats.dependence import with_inflation
from veriphoto_monitoring.stats.distributions import Mean, Numbers, Reference, from_rows
from veriphoto_monitoring.stats.testing import examine

ROOT = Path(__file__).parent.parent
REFERENCE: Final = 20_000
DAY: Final = 10_000
WARM: Final = max(WINDOWS)
"""Pictures of the day before, in the windows as the day begins."""
SERIES: Final = 8
"""Pictures in a series of the days that come in series: a seller's photos of one thing, or a shop's catalogue."""
SHARED: Final = 5
"""Days or runs that share a reference."""
PATIENCE: Final = 40_000
"""A change that is not seen within so many pictures counts as missed."""
BLOCK: Final = int(np.gcd.reduce(list(WINDOWS.values())))


@dataclass(frozen=True)
class Alarm:
    """A test that failed."""

    at: int
    """Pictures since the stream began."""
    statistic: str
    window: int


def alarms(rows: Any, pictures: npt.NDArray[np.intp], reference: Reference, budget: Budget) -> list[Alarm]:
    """Tests every window of a stream.

    Args:
        rows: [P, WIDTH] of the population.
        pictures: [N] places in ``rows``, N a multiple of ``BLOCK``.
        reference: To test against.
        budget: Of false alarms.

    Returns:
        Every test that failed, in time's order; only whole windows are tested.
    """
    found = []
    blocks = len(pictures) // BLOCK
    number = np.repeat(np.arange(blocks), BLOCK)
    for each in MONITORED:
        one = reference.distributions[each.name]
        values = rows[:, each.index]
        if isinstance(one, Mean):
            counts = values[pictures].reshape(blocks, BLOCK).sum(axis=1, keepdims=True)
        else:
            cells = one.cells(values) if isinstance(one, Numbers) else values.astype(np.intp)
            size = one.count if isinstance(one, Numbers) else len(one.counts)
            counts = np.bincount(number * size + cells[pictures], minlength=blocks * size).reshape(blocks, size)
        total = np.concatenate([np.zeros((1, counts.shape[1])), np.cumsum(counts, axis=0)])
        for window, step in WINDOWS.items():
            ends = np.arange(window, len(pictures) + 1, step) // BLOCK
            tested = examine(one, total[ends] - total[ends - window // BLOCK], window)
            failed = tested.p < budget.alpha(each.name, window)
            found += [Alarm(int(end) * BLOCK, each.name, window) for end in ends[failed]]
    return sorted(found, key=lambda alarm: alarm.at)


def reference_of(population: Population, rng: np.random.Generator, series: int = 1, adapt: bool = True) -> Reference:
    """Draws a healthy period and makes the reference of it, as ``veriphoto drift baseline`` does."""
    pictures = population.draw_series(rng, REFERENCE, series)
    rows = population.rows[pictures]
    found = from_rows(rows, np.arange(REFERENCE, dtype=float), 1)
    return with_inflation(found, rows) if adapt else found


def quiet_days(
    population: Population, budget: Budget, days: int, seed: int, series: int = 1, adapt: bool = True
) -> dict[str, Any]:
    """Replays days without any change and counts those with an alarm.

    Args:
        population: To draw from.
        budget: Of false alarms.
        days: How many.
        seed: Of the draws.
        series: Pictures come in series of one source, of so many on average.
        adapt: Let thresholds grow with what the reference shows of series.
    """
    by_statistic: Counter[str] = Counter()
    by_window: Counter[int] = Counter()
    with_alarm = 0
    for day in range(days):
        rng = np.random.default_rng([seed, 0, day])
        if day % SHARED == 0:
            reference = reference_of(population, rng, series, adapt)
        stream = population.draw_series(rng, WARM + DAY, series)
        failed = [one for one in alarms(population.rows, stream, reference, budget) if one.at > WARM]
        with_alarm += bool(failed)
        by_statistic.update({one.statistic for one in failed})
        by_window.update({one.window for one in failed})
    low, high = _share(with_alarm, days)
    return {
        "days": days,
        "images_per_day": DAY,
        "series": series,
        "adapted": adapt,
        "days_with_alarm": with_alarm,
        "share": with_alarm / days,
        "share_95": [low, high],
        "goal": 0.01,
        "met": with_alarm / days <= 0.01,
        "days_by_statistic": dict(by_statistic),
        "days_by_window": dict(by_window),
    }


def delays(population: Population, budget: Budget, shift: Shift, runs: int, seed: int) -> dict[str, Any]:
    """Starts a change at a random moment, again and again, and counts images until the first alarm."""
    found, first, causes = [], Counter[str](), Counter[str]()
    for run in range(runs):
        rng = np.random.default_rng([seed, 1 + SHIFTS.index(shift), run])
        if run % SHARED == 0:
            reference = reference_of(population, rng)
        start = WARM + int(rng.integers(0, max(WINDOWS.values())))
        before = population.draw(rng, start)
        for patience in (DAY, PATIENCE):
            count = (start + patience) // BLOCK * BLOCK - start
            after = population.draw(np.random.default_rng([seed, 7, run]), PATIENCE, shift)[:count]
            stream = np.concatenate([before, after])
            failed = [one for one in alarms(population.rows, stream, reference, budget) if one.at > start]
            if failed:
                break
        found.append(failed[0].at - start if failed else PATIENCE)
        if failed:
            first.update({one.statistic for one in failed if one.at == failed[0].at})
            causes[_cause(population, stream, reference, failed[0])] += 1
    ordered = np.sort(found)
    return {
        "shift": shift.name,
        "runs": runs,
        "median": int(np.median(ordered)),
        "p95": int(np.quantile(ordered, 0.95, method="higher")),
        "p95_95": _quantile_interval(ordered, 0.95),
        "missed": int((ordered >= PATIENCE).sum()),
        "goal": shift.goal,
        "met": bool(np.quantile(ordered, 0.95, method="higher") <= shift.goal),
        "first": dict(first.most_common()),
        "cause_wanted": shift.cause,
        "causes": dict(causes.most_common()),
    }


def _cause(population: Population, stream: Any, reference: Reference, alarm: Alarm) -> str:
    """Says what the sidecar would say is behind an alarm."""
    each = next(one for one in MONITORED if one.name == alarm.statistic)
    rows = population.rows[stream[alarm.at - alarm.window : alarm.at]]
    return prior_shift.cause(each, reference, rows, prior_shift.estimate(reference, rows))


def _share(count: int, total: int) -> tuple[float, float]:
    interval = stats.binomtest(count, total).proportion_ci(0.95, "exact")
    return float(interval.low), float(interval.high)


def _quantile_interval(ordered: npt.NDArray[Any], level: float) -> list[int]:
    """Returns the 95 % interval of a quantile by order statistics."""
    low, high = stats.binom.ppf([0.025, 0.975], len(ordered), level).astype(int)
    return [int(ordered[max(low - 1, 0)]), int(ordered[min(high, len(ordered) - 1)])]


def main() -> None:
    """Measures everything and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=ROOT / "var" / "drift_pool.npz")
    parser.add_argument("--days", type=int, default=1000)
    parser.add_argument("--series-days", type=int, default=200)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "drift.json")
    arguments = parser.parse_args()
    findings = read_manifest(latest_version(ROOT / "model_repository" / CLASSIFIER)).findings
    population = Population(arguments.pool, findings.operating_point)
    budget = Budget(images_per_day=DAY)
    began = time.monotonic()
    found: dict[str, Any] = {
        "population": {"real": population.real, "ai": population.ai, "onnx_sha256": population.model},
        "reference_images": REFERENCE,
        "windows": {str(window): step for window, step in WINDOWS.items()},
        "no_change": quiet_days(population, budget, arguments.days, arguments.seed),
        "no_change_in_series": [
            quiet_days(population, budget, arguments.series_days, arguments.seed + 1, SERIES, adapt)
            for adapt in (True, False)
        ],
        "delays": [],
    }
    for name in ("no_change", "no_change_in_series"):
        print(json.dumps(found[name]), file=sys.stderr, flush=True)
    for shift in SHIFTS:
        found["delays"].append(delays(population, budget, shift, arguments.runs, arguments.seed))
        print(json.dumps(found["delays"][-1]), file=sys.stderr, flush=True)
    found["seconds"] = round(time.monotonic() - began)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
