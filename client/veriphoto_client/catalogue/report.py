"""What an output holds, read from what is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import compute, dataset

from veriphoto_client.catalogue.places import Place
from veriphoto_client.catalogue.progress import cost
from veriphoto_client.catalogue.rows import SCHEMA
from veriphoto_client.catalogue.tally import Count
from veriphoto_client.scan.rows import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueReport:
    """The state of an output after a run."""

    verdicts: Counter[str]
    """Scored inputs by verdict."""
    failed: int
    """Inputs with an error."""
    duplicates: int
    """Inputs that have the score of equal bytes."""
    earlier: int
    """Rows of runs before this one."""
    seconds: float
    """That this run took, listing and start included."""
    cost: str

    @property
    def rows(self) -> int:
        """Rows of the output."""
        return self.verdicts.total() + self.failed

    @property
    def complete(self) -> bool:
        """Whether no row holds an error."""
        return not self.failed

    def summary(self) -> str:
        """Returns one line for people."""
        kinds = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.verdicts.items()))
        mine = self.rows - self.earlier
        return (
            f"{self.rows} rows, {mine} of this run in {self.seconds:.1f} s, {mine / self.seconds:.1f} images/s: "
            f"{self.verdicts.total()} scored ({kinds or 'none'}), {self.failed} failed, "
            f"{self.duplicates} duplicates; {self.cost}"
        )


def take_stock(output: Place, earlier: int, count: Count, seconds: float, price: float) -> CatalogueReport:
    """Counts the rows of an output.

    Args:
        output: The output.
        earlier: Rows of runs before this one.
        count: Sums of this run.
        seconds: That this run took.
        price: Of one core-hour.
    """
    verdicts: Counter[str] = Counter()
    failed = duplicates = 0
    for batch in _batches(output, ["verdict", "error", "duplicate"]):
        scored = batch.filter(compute.equal(batch["error"], ""))
        failed += len(batch) - len(scored)
        duplicates += compute.sum(batch["duplicate"]).as_py() or 0
        for each in compute.value_counts(scored["verdict"].cast(pa.string())).to_pylist():
            verdicts[each["values"]] += each["counts"]
    return CatalogueReport(
        verdicts=verdicts,
        failed=failed,
        duplicates=duplicates,
        earlier=earlier,
        seconds=seconds,
        cost=cost(count, price) if count.done else "nothing was left to do",
    )


def known_scores(output: Place) -> Iterator[dict[str, Row]]:
    """Reads the scores that an output holds, by the sha256 of the bytes; rows without a path."""
    names = ["verdict", "probability", "confidence", "model_version", "error"]
    for batch in _batches(output, ["sha256", *names]):
        yield {row.pop("sha256"): Row(path="", **row) for row in batch.to_pylist() if row["sha256"]}


def _batches(output: Place, columns: list[str]) -> Iterator[Any]:
    parts = dataset.dataset(
        output.path, filesystem=output.system, format="parquet", schema=SCHEMA, exclude_invalid_files=False
    )
    yield from parts.to_batches(columns=columns)
