"""What the monitor keeps of a record, as columns of numbers, and which of them are tested how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CONTRACT, FORMATS
from veriphoto.prediction_log.record import Record
from veriphoto.verdict import Label, OperatingPoint, decide

Floats = npt.NDArray[np.float64]
Kind = Literal["number", "mean", "category"]

VERDICTS: Final[tuple[str, ...]] = get_args(Label)
"""Values of the column ``verdict``, by index."""
LOW: Final = "low_confidence"
COLUMNS: Final = ("logit", "probability", "verdict", LOW, *CONTRACT.statistics)
"""Columns of a row; all but ``low_confidence`` (1 where the verdict's confidence is low) are in the record."""
WIDTH: Final = len(COLUMNS)


@dataclass(frozen=True, slots=True)
class Monitored:
    """A statistic that is tested."""

    name: str
    column: str
    kind: Kind
    """``number``: Kolmogorov-Smirnov; ``mean``: z test of the mean; ``category``: chi-square."""
    categories: tuple[str, ...] = ()

    @property
    def index(self) -> int:
        """Which column it reads."""
        return COLUMNS.index(self.column)

    @property
    def of_input(self) -> bool:
        """Whether it measures the picture, not the model's answer."""
        return self.column in CONTRACT.statistics


MONITORED: Final = (
    Monitored("score", "logit", "number"),
    Monitored("mean_probability", "probability", "mean"),
    Monitored("verdict", "verdict", "category", VERDICTS),
    *(
        Monitored(name, name, "category", FORMATS) if name == "format" else Monitored(name, name, "number")
        for name in CONTRACT.statistics
    ),
)
"""Everything that is tested, in the order in which it is shown."""


def column(rows: Floats, name: str) -> Floats:
    """Returns one column of ``rows`` [N, WIDTH] by its name."""
    found: Floats = rows[:, COLUMNS.index(name)]
    return found


def to_rows(records: Sequence[Record], points: dict[int, OperatingPoint]) -> Floats:
    """Turns records into rows.

    Args:
        records: N records.
        points: Operating points by model version, as far as they are known; for other versions the confidence is
            taken to be low where the verdict is ``unsure``.

    Returns:
        float64 [N, WIDTH].
    """
    rows = np.empty((len(records), WIDTH))
    for row, record in zip(rows, records, strict=True):
        row[:4] = record.logit, record.probability, _verdict(record), _low(record, points.get(record.model_version))
        row[4:] = record.statistics
    return rows


def _verdict(record: Record) -> int:
    # A word that this release does not know says no more than "unsure".
    return VERDICTS.index(record.verdict) if record.verdict in VERDICTS else VERDICTS.index("unsure")


def _low(record: Record, point: OperatingPoint | None) -> bool:
    if point is None:
        return record.verdict == "unsure"
    values: dict[str, Any] = dict(zip(CONTRACT.statistics, record.statistics, strict=True))
    return decide(record.probability, values, point).confidence == "low"
