"""What reviewers found, as ``veriphoto review report --metrics`` left it: shown beside the monitor's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_PREFIX: Final = "veriphoto_review_"
_PRECISION: Final = f"{_PREFIX}flag_precision"


class ReviewCollector(Collector):
    """Shows the file's metrics in a registry; where there is none, or none that can be read, there are none."""

    def __init__(self, path: Path) -> None:
        """Remembers where the file lies.

        Args:
            path: Read at every scrape.
        """
        self._path = path

    def collect(self) -> list[Metric]:
        """Returns the metrics."""
        return review_metrics(self._path)


def review_metrics(path: Path) -> list[Metric]:
    """Reads the metrics of a file, its own and no others."""
    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
    return [family for family in families if family.name.startswith(_PREFIX)]


def review_summary(path: Path) -> dict[str, dict[str, float]] | None:
    """Returns the precision of flags for ``/drift``: by period, then by bound; None where nothing is known."""
    found: dict[str, dict[str, float]] = {}
    for family in review_metrics(path):
        for sample in family.samples:
            if sample.name == _PRECISION and {"period", "bound"} <= sample.labels.keys():
                found.setdefault(sample.labels["period"], {})[sample.labels["bound"]] = sample.value
    return found or None


def review_sentence(found: Mapping[str, Mapping[str, float]] | None) -> str:
    """Words a summary for people."""
    if not found:
        return "Nothing reviewed yet (veriphoto review report --metrics)."
    words = {"recent": "of the flags of the last 30 days", "earlier": "of those before"}
    parts = [
        f"{share['estimate']:.1%} ({share['low']:.1%} to {share['high']:.1%}) {words[period]}"
        for period, share in sorted(found.items(), reverse=True)
        if period in words and {"estimate", "low", "high"} <= share.keys()
    ]
    return f"Reviewers confirmed {', '.join(parts)}."
