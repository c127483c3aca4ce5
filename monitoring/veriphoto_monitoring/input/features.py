"""The columns of numbers that the monitor keeps of each record, and how each of them is tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CONTRACT, FORMATS
from veriphoto.prediction_log.record import Record
from veriphoto.verdict import Label

Floats = npt.NDArray[np.float64]
Kind = Literal["number", "mean", "category"]

VERDICTS: Final[tuple[str, ...]] = get_args(Label)
"""Values of the column ``verdict``, by index."""
LOW: Final = "low_confidence"
COLUMNS: Final = ("logit", "probability", "verdict", LOW, *CONTRACT.statistics)
"""Columns of a row; ``low_confidence`` is 1 where the verdict's confidence is low."""
WIDTH: Final = len(COLUMNS)


@dataclass(frozen=True, slots=True)
class Monitored:
    """A statistic that is tested for drift."""

    name: str
    column: str
    kind: Kind
    """``number``: Kolmogorov-Smirnov; ``mean``: z test of the mean; ``category``: chi-square."""
    categories: tuple[str, ...] = ()

    @property
    def index(self) -> int:
        """Index of the column that it reads."""
        return COLUMNS.index(self.column)

    @property
    def of_input(self) -> bool:
        """Whether it describes the picture rather than the model's answer."""
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
"""All tested statistics, in display order."""


def column(rows: Floats, name: str) -> Floats:
    """Returns one column of ``rows`` [N, WIDTH] by its name."""
    found: Floats = rows[:, COLUMNS.index(name)]
    return found


def to_rows(records: Sequence[Record]) -> Floats:
    """Turns records into rows of numbers.

    Args:
        records: N records.

    Returns:
        float64 [N, WIDTH].
    """
    rows = np.empty((len(records), WIDTH))
    for row, record in zip(rows, records, strict=True):
        row[:4] = record.logit, record.probability, _verdict(record), _low(record)
        row[4:] = record.statistics
    return rows


def _verdict(record: Record) -> int:
    # A verdict unknown to this release is treated as "unsure".
    return VERDICTS.index(record.verdict) if record.verdict in VERDICTS else VERDICTS.index("unsure")


def _low(record: Record) -> bool:
    # Lines of older releases have no confidence; of those only "unsure" is certain to be low.
    return record.confidence == "low" if record.confidence else record.verdict == "unsure"
