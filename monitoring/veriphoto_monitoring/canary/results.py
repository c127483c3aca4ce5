"""The results of a canary run: their file, the reference for later runs, and their metrics."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from veriphoto.errors import DataError
from veriphoto.files import replace_text
from veriphoto_monitoring.canary.verdict import MEASURES, GroupTally, Judged

RESULTS_FILE: Final = "canary.json"
"""File in ``var`` with the last run, which the monitor exports as metrics."""
REFERENCE_FILE: Final = "canary_reference.json"
_SCHEMA: Final = 1
_RATES: Final = {"ai": "veriphoto_canary_true_positive_rate", "real": "veriphoto_canary_false_alarm_rate"}
_LABELS: Final = {"ai": "generator", "real": "source"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """One run."""

    tallies: list[GroupTally]
    judged: list[Judged]
    """Empty if there was no reference."""
    model_versions: list[int]
    """Versions that answered; more than one if the version was changed during the run."""
    level: float
    time: float = field(default_factory=time.time)
    """End of the run, seconds since the epoch."""

    @property
    def alarms(self) -> list[Judged]:
        """The groups that are worse than the reference."""
        return [each for each in self.judged if each.alarm]

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {
            "schema": _SCHEMA,
            "time": self.time,
            "level": self.level,
            "model_versions": self.model_versions,
            "tallies": [each.to_json() for each in self.tallies],
            "judged": [each.to_json() for each in self.judged],
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Results:
        """Reads what ``to_json`` wrote.

        Raises:
            KeyError: If a field is missing.
            TypeError: If a field has the wrong type; ``ValueError`` likewise.
        """
        return cls(
            tallies=[GroupTally(**each) for each in body["tallies"]],
            judged=[
                Judged(**{**each, "tally": GroupTally(**each["tally"]), "reference": GroupTally(**each["reference"])})
                for each in body["judged"]
            ],
            model_versions=[int(version) for version in body["model_versions"]],
            level=float(body["level"]),
            time=float(body["time"]),
        )


def write(path: Path, results: Results) -> None:
    """Writes results, whole or not at all.

    Args:
        path: The file; its folder is created if missing.
        results: Results of a run.
    """
    replace_text(path, json.dumps(results.to_json(), indent=1) + "\n")


def write_reference(path: Path, results: Results) -> None:
    """Writes what later runs are compared with, as ``write`` does.

    Raises:
        DataError: If there is a group that nothing could be compared with.
    """
    unscored = ", ".join(f"{each.truth}/{each.group}" for each in results.tallies if not each.pictures)
    if unscored:
        raise DataError(f"no picture of {unscored} could be scored, so this run is no reference")
    write(path, results)


def read(path: Path) -> Results:
    """Reads results.

    Args:
        path: A file that ``write`` has written.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return Results.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no results of canaries: {error}; write it with --write-reference") from error


def write_textfile(path: Path, results: Path) -> None:
    """Writes the metrics of a results file for the node exporter's textfile collector.

    Args:
        path: A file name that ends in ``.prom``.
        results: See ``canary_metrics``.
    """
    registry = CollectorRegistry()
    registry.register(CanaryCollector(results))
    replace_text(path, generate_latest(registry).decode())


def canary_metrics(path: Path) -> list[Metric]:
    """Returns the metrics of the last run.

    Args:
        path: The results file; without a readable one there are no metrics.
    """
    try:
        results = read(path)
    except DataError:
        return []
    return [
        *(_rates(results, truth) for truth in MEASURES),
        _alarms(results),
        _gauge("veriphoto_canary_failing", "1 if a group did worse than the reference.", float(bool(results.alarms))),
        _gauge("veriphoto_canary_last_run_timestamp_seconds", "End of the last canary run.", results.time),
    ]


class CanaryCollector(Collector):
    """Exports the results of the last run."""

    def __init__(self, path: Path) -> None:
        """Remembers the results file.

        Args:
            path: See ``canary_metrics``; read at every scrape.
        """
        self._path = path

    def collect(self) -> list[Metric]:
        """Returns the metrics."""
        return canary_metrics(self._path)


def _rates(results: Results, truth: Any) -> Metric:
    family = GaugeMetricFamily(
        _RATES[truth], f"{MEASURES[truth].capitalize()} in the last canary run.", labels=[_LABELS[truth]]
    )
    for each in results.tallies:
        if each.truth == truth and each.pictures:
            family.add_metric([each.group], each.rate)
    return family


def _alarms(results: Results) -> Metric:
    family = GaugeMetricFamily(
        "veriphoto_canary_alarm", "1 if the group did worse than the reference.", labels=["measure", "group"]
    )
    for each in results.judged:
        family.add_metric([MEASURES[each.tally.truth], each.tally.group], float(each.alarm))
    return family


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)
