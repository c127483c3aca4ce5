"""Reads the recorder's metrics of Triton servers, and turns counters into the counts since the last scrape."""

from __future__ import annotations

import http.client
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from veriphoto.contract import FORMATS
from veriphoto.errors import ServiceUnavailableError
from veriphoto.prediction_log.metrics import HISTOGRAMS, IMAGE_FORMATS, VERDICTS, VERSION_LABEL
from veriphoto_monitoring.input import features
from veriphoto_monitoring.input.features import Floats
from veriphoto_monitoring.settings import http_address

PATIENCE_S: Final = 3.0
MAX_BYTES: Final = 16_000_000

_FIELDS: Final = {name: each for each, (name, _, _) in HISTOGRAMS.items()}
_COUNTED: Final = {VERDICTS: ("verdict", features.VERDICTS), IMAGE_FORMATS: ("format", FORMATS)}
_CELLS: Final = {
    **{name: len(bounds) + 1 for name, (_, _, bounds) in HISTOGRAMS.items()},
    **{label: len(names) for label, names in _COUNTED.values()},
}

Series = dict[str, float]
"""Values of a server's counters, by a key of version, metric and bucket."""


@dataclass(kw_only=True, slots=True)
class Counts:
    """Histograms of some pictures of one model version."""

    first: float = 0.0
    """Seconds since the epoch when the pictures began to be counted, at the monitor."""
    last: float = 0.0
    fields: dict[str, Floats] = field(default_factory=dict)
    """By column: pictures in each bucket, the last one open; for ``verdict`` and ``format``, in each category."""
    probability_sum: float = 0.0

    @property
    def images(self) -> int:
        """Number of pictures."""
        return int(self.fields["probability"].sum()) if "probability" in self.fields else 0


def fetch(url: str) -> str:
    """Fetches a metrics page.

    Args:
        url: ``http://host:port/metrics``.

    Raises:
        ServiceUnavailableError: If it cannot be fetched.
        UsageError: If the URL is invalid.
    """
    parts = http_address(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", parts.path or "/metrics")
        answer = connection.getresponse()
        body = answer.read(MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise ServiceUnavailableError(f"{url} does not answer: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ServiceUnavailableError(f"{url} answers with status {answer.status}")
    return body.decode("utf-8", "replace")


def read_series(text: str) -> Series:
    """Extracts the recorder's series from a metrics page.

    Raises:
        ServiceUnavailableError: If the text is not a metrics page.
    """
    wanted = {*_FIELDS, *(name.removesuffix("_total") for name in _COUNTED), *_COUNTED}
    found: Series = {}
    try:
        for family in text_string_to_metric_families(text):
            if family.name not in wanted:
                continue
            for sample in family.samples:
                key = _key(sample.name, sample.labels)
                if key:
                    found[key] = sample.value
    except (ValueError, KeyError, IndexError) as error:
        raise ServiceUnavailableError(f"not a metrics page: {type(error).__name__}") from error
    return found


def since(now: Mapping[str, float], before: Mapping[str, float]) -> Series:
    """Returns by how much counters grew. A counter that is lower than before was reset, so all of it is new."""
    return {
        key: value - before[key] if before.get(key, 0.0) <= value and key in before else value
        for key, value in now.items()
    }


def to_counts(series: Mapping[str, float]) -> dict[int, Counts]:
    """Groups counts by model version.

    Args:
        series: The result of ``since`` for one server.

    Returns:
        Counts by version; versions without a picture are left out.
    """
    found: dict[int, Counts] = defaultdict(Counts)
    for key, value in series.items():
        label, name, part = key.split("|")
        counts = found[int(label)]
        if part == "sum":
            counts.probability_sum += value if name == "probability" else 0.0
            continue
        cells = counts.fields.setdefault(name, np.zeros(_CELLS[name]))
        cells[int(part)] = value
    for counts in found.values():
        for name in HISTOGRAMS:
            if name in counts.fields:  # buckets are cumulative
                counts.fields[name] = np.diff(counts.fields[name], prepend=0.0)
    return {version: counts for version, counts in found.items() if counts.images}


def join(parts: Sequence[Counts]) -> Counts:
    """Sums counts."""
    total = Counts(first=min(one.first for one in parts), last=max(one.last for one in parts))
    for one in parts:
        total.probability_sum += one.probability_sum
        for name, values in one.fields.items():
            total.fields[name] = total.fields[name] + values if name in total.fields else values
    return total


def _key(name: str, labels: Mapping[str, Any]) -> str:
    version = labels.get(VERSION_LABEL, "")
    if not version.isdigit():
        return ""
    if name in _COUNTED:
        label, names = _COUNTED[name]
        return f"{version}|{label}|{names.index(labels[label])}" if labels.get(label) in names else ""
    each = _FIELDS.get(name.rpartition("_")[0], "")
    if each and name.endswith("_sum"):
        return f"{version}|{each}|sum"
    if each and name.endswith("_bucket"):
        place = _place(float(labels["le"]), HISTOGRAMS[each][2])
        return f"{version}|{each}|{place}" if place is not None else ""
    return ""


def _place(bound: float, bounds: Sequence[float]) -> int | None:
    """Finds a bucket by its bound, which servers may print with fewer digits."""
    if math.isinf(bound):
        return len(bounds)
    near = (number for number, one in enumerate(bounds) if math.isclose(one, bound, rel_tol=1e-6, abs_tol=1e-9))
    return next(near, None)
