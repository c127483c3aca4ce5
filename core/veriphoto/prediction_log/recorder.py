"""Records each answer in the prediction log and in the server's metrics, without ever delaying it.

The caller hands over the tensors and carries on; background threads write the log and update the metrics. A disk that
is full, slow or gone costs log lines, which are counted, and nothing else. Standard library only, apart from the
numpy arrays that it is given.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from veriphoto.contract import CONTRACT, OPINION_VALUES
from veriphoto.prediction_log.background import Background
from veriphoto.prediction_log.metrics import Meter
from veriphoto.prediction_log.record import Record, keep_id
from veriphoto.prediction_log.segments import DEFAULT_MEGABYTES, Segments
from veriphoto.verdict import OperatingPoint, decide

__all__ = [
    "DEFAULT_MEGABYTES",
    "LOG_VARIABLE",
    "SIZE_VARIABLE",
    "Recorder",
    "from_environment",
    "keep_id",
    "make_record",
]

LOG_VARIABLE: Final = "VERIPHOTO_PREDICTION_LOG"
"""Environment variable that names the log's directory; empty or unset turns the log off."""
SIZE_VARIABLE: Final = "VERIPHOTO_PREDICTION_LOG_MB"
"""Environment variable that limits the total size of all segments, in megabytes."""

_log = logging.getLogger(__name__)


def make_record(
    request_id: str,
    logit: float,
    probability: float,
    statistics: Sequence[float],
    point: Sequence[float],
    opinions: Sequence[float],
) -> Record:
    """Builds the record of one answered picture.

    Args:
        request_id: The caller's id.
        logit: The tensor LOGIT.
        probability: The tensor PROBABILITY.
        statistics: The tensor STATISTICS, in the order of ``Contract.statistics``.
        point: The tensor OPERATING_POINT, in the order of ``Contract.operating_point``.
        opinions: The tensor OPINIONS, in the order of ``OPINION_VALUES``.

    Returns:
        The record, with the same verdict and confidence that a client derives from these numbers.

    Raises:
        ValueError: If the numbers are not a valid answer.
    """
    measured = dict(zip(CONTRACT.statistics, statistics, strict=True))
    verdict = decide(probability, measured, OperatingPoint.from_tensor(point))
    said = dict(zip(OPINION_VALUES, opinions, strict=True))
    return Record(
        time=time.time(),
        request_id=keep_id(request_id),
        model_version=verdict.model_version,
        logit=logit,
        probability=probability,
        verdict=verdict.verdict,
        confidence=verdict.confidence,
        statistics=tuple(statistics),
        asked=said["asked"] > 0.0,
        first_logit=said["first_logit"],
    )


class Recorder:
    """Used by the last step of the ensemble: one call per request, which takes microseconds and cannot fail."""

    def __init__(self, segments: Segments | None = None, meter: Meter | None = None) -> None:
        """Starts the background threads.

        Args:
            segments: Segments that the log is written to; None writes no log.
            meter: Metrics in which answers are counted; None counts none.
        """
        self.invalid = 0
        """Pictures whose tensors were not a valid answer."""
        self._segments = segments
        self._log = Background(segments.append, "the prediction log") if segments else None
        self._meter: Background[Record] | None = None
        if meter is not None:
            self._meter = Background(lambda records: meter.observe(records, self.counts()), "metering")

    def note(self, request_id: str, tensors: Sequence[Any]) -> None:
        """Records the answer to one request; never raises.

        Args:
            request_id: The caller's id.
            tensors: The arrays LOGIT [B, 1], PROBABILITY [B, 1], STATISTICS [B, n], OPERATING_POINT [B, m] and
                OPINIONS [B, 5].
        """
        try:
            logits, probabilities, statistics, points, opinions = (tensor.tolist() for tensor in tensors)
            rows = list(zip(logits, probabilities, statistics, points, opinions, strict=True))
        except Exception:  # noqa: BLE001 - recording must never cost an answer
            self.invalid += 1
            return
        for place, row in enumerate(rows):
            self._note(f"{request_id}#{place}" if request_id and len(rows) > 1 else request_id, *row)

    def _note(self, request_id: str, logit: Any, probability: Any, statistics: Any, point: Any, opinions: Any) -> None:
        try:
            record = make_record(request_id, logit[0], probability[0], statistics, point, opinions)
        except Exception:  # noqa: BLE001 - as above
            self.invalid += 1
            return
        for taker in (self._log, self._meter):
            if taker is not None:
                taker.offer(record)

    def counts(self) -> dict[str, int]:
        """Counts lines so far: ``written``, dropped because the queue was ``full``, and ``invalid`` answers."""
        full = self._log.dropped if self._log else 0
        return {"written": self._segments.written if self._segments else 0, "full": full, "invalid": self.invalid}

    def close(self) -> None:
        """Flushes what is queued; gives up on a disk that hangs after two seconds."""
        if self._log is not None and self._segments is not None and self._log.close():
            self._segments.close()
        if self._meter is not None:
            self._meter.close()


def from_environment(environment: Mapping[str, str], meter: Meter | None = None) -> Recorder:
    """Opens the log that the environment names.

    Args:
        environment: Read for ``LOG_VARIABLE`` and ``SIZE_VARIABLE``; both are optional.
        meter: Metrics in which answers are counted; None counts none.

    Returns:
        The recorder. An invalid size is replaced by the default, because logging must never keep the server down.
    """
    folder = environment.get(LOG_VARIABLE, "")
    try:
        megabytes = float(environment.get(SIZE_VARIABLE) or DEFAULT_MEGABYTES)
    except ValueError:
        megabytes = 0.0
    if not megabytes > 0:
        _log.warning("%s is not a size in megabytes; using %d", SIZE_VARIABLE, DEFAULT_MEGABYTES)
        megabytes = DEFAULT_MEGABYTES
    return Recorder(Segments(Path(folder), megabytes) if folder else None, meter)
