"""Makes a reference from a healthy period of the prediction log."""

from __future__ import annotations

import json
from collections import Counter, deque
from pathlib import Path
from typing import Final

import numpy as np

from veriphoto.errors import DataError
from veriphoto.files import replace_text
from veriphoto.prediction_log.record import Record
from veriphoto_monitoring.input.features import to_rows
from veriphoto_monitoring.input.tail import Tail
from veriphoto_monitoring.stats.dependence import with_inflation
from veriphoto_monitoring.stats.distributions import Reference, from_rows

LEAST: Final = 2000
MOST: Final = 200_000


def make(log: Path, last: int, since: float | None, until: float | None) -> Reference:
    """Reads the log and describes its period.

    Args:
        log: Directory of the log.
        last: Number of newest pictures to use, at most ``MOST``.
        since: Ignore older pictures, seconds since the epoch.
        until: Ignore newer pictures.

    Returns:
        The reference, for the model version with most answers in the period.

    Raises:
        DataError: If there are fewer than ``LEAST`` pictures.
    """
    tail, kept = Tail(log, {}), deque[Record](maxlen=min(last, MOST))
    while (chunk := tail.read()) is not None:
        kept.extend(record for record in chunk.records if _inside(record.time, since, until))
    versions = Counter(record.model_version for record in kept)
    version = max(versions, key=lambda one: versions[one], default=0)
    records = sorted((one for one in kept if one.model_version == version), key=lambda one: one.time)
    if len(records) < LEAST:
        which = "" if records else "; is that the log of the server? Name its folder with --var, or the log with --log"
        raise DataError(
            f"{log} has {len(records)} pictures of that period, a baseline needs {LEAST} (better 20000){which}"
        )
    rows, times = to_rows(records), np.array([record.time for record in records])
    return with_inflation(from_rows(rows, times, version), rows)


def write(path: Path, reference: Reference) -> None:
    """Writes the baseline, whole or not at all."""
    replace_text(path, json.dumps(reference.to_json(), separators=(",", ":")))


def _inside(time: float, since: float | None, until: float | None) -> bool:
    return (since is None or time >= since) and (until is None or time <= until)
