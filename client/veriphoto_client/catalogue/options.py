"""What a catalogue scan is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veriphoto.errors import UsageError
from veriphoto.second_opinion import Mode
from veriphoto.variants import Variant

DEFAULT_ROWS_PER_FILE: Final = 1000
DEFAULT_TRIES: Final = 4
DEFAULT_PRICE: Final = 0.04


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueOptions:
    """What to scan, where the rows go, and with how much of a Ray cluster.

    Raises:
        UsageError: If a number is out of range.
    """

    source: str
    """A folder, a glob, a CSV or Parquet manifest of URIs, or an object store's prefix."""
    output: str
    """A folder or an object store's prefix that every node can write to; one that exists is gone on with."""
    force: bool = False
    """Score inputs again that have not changed since their row was written."""
    model: Path = Path("model_repository/classifier")
    """A version directory, or the model's directory, of which the newest version is taken."""
    variant: str = Variant.FP32
    """How the version is run, or ``AUTO``: chosen once, here, for all rows."""
    second_opinion: Mode = Mode.AUTO
    """When to ask the second opinion."""
    address: str | None = None
    """Address of a Ray cluster; None starts Ray on this machine for as long as the scan runs."""
    workers: int | None = None
    """Actors, each on one core; None for every core of the cluster."""
    rows_per_file: int = DEFAULT_ROWS_PER_FILE
    """Photos scored between two part files: what a kill can cost an actor."""
    tries: int = DEFAULT_TRIES
    """Attempts at reading an object before it gets a row with the reason."""
    deduplicate: bool = False
    """Score equal bytes once."""
    price: float = DEFAULT_PRICE
    """Price of one core-hour, in any currency; for the progress line and the summary."""

    def __post_init__(self) -> None:
        workers = 1 if self.workers is None else self.workers
        if min(self.rows_per_file, self.tries, workers) < 1 or self.price < 0:
            raise UsageError("rows per file, tries and workers are at least 1, the price at least 0")
