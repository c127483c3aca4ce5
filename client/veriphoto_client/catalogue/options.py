"""The options of a catalogue scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veriphoto.errors import UsageError
from veriphoto.second_opinion import Mode
from veriphoto.variants import Variant
from veriphoto_client.commandline.options import option

_RAY: Final = "Ray"


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueOptions:
    """The settings of a catalogue scan.

    Raises:
        UsageError: If a number is out of range.
    """

    source: str = ""
    """A folder, a glob, a CSV or Parquet manifest of URIs, or an object store's prefix."""
    output: str = ""
    """A folder or an object store's prefix that every node can write to. An existing output is continued."""
    force: bool = False
    """Whether to score inputs again that have not changed since their row was written."""
    model: Path = Path("model_repository/classifier")
    """A version directory, or the model's directory to use its newest version."""
    variant: str = Variant.FP32
    """Variant to run; ``AUTO`` chooses one on this machine for the whole scan."""
    second_opinion: Mode = Mode.AUTO
    """When to ask the second opinion."""
    ray_address: str | None = option(
        None, "Address of the Ray cluster; by default Ray starts on this machine.", panel=_RAY, variable="RAY_ADDRESS"
    )
    workers: int | None = None
    """Number of actors, each on one core; None for every core of the cluster."""
    rows_per_file: int = option(
        1000, "Rows per part file; a kill costs each worker at most one file.", panel=_RAY, least=1
    )
    tries: int = option(4, "Attempts to read an object before its row says why it failed.", panel=_RAY, least=1)
    deduplicate: bool = option(False, "Score files with the same bytes only once.", panel=_RAY, flag=True)
    price: float = option(
        0.04, "Price of one core-hour in any currency, for the progress line and the summary.", panel=_RAY, least=0
    )

    def __post_init__(self) -> None:
        workers = 1 if self.workers is None else self.workers
        if min(self.rows_per_file, self.tries, workers) < 1 or self.price < 0:
            raise UsageError("rows per file, tries and workers are at least 1, the price at least 0")
