"""Summarises an output by reading its part files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import compute, dataset

from veriphoto_client.catalogue.progress import cost
from veriphoto_client.catalogue.rows import SCHEMA
from veriphoto_client.catalogue.standing import Todo
from veriphoto_client.catalogue.tally import Count
from veriphoto_client.scan.report import failures_line, lines, rate, standings_line, verdicts_line
from veriphoto_client.scan.resume import Standing
from veriphoto_client.scan.rows import Row
from veriphoto_client.sources.places import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueReport:
    """The state of an output after a run."""

    verdicts: Counter[str]
    """Scored inputs by verdict."""
    failed: int
    """Number of inputs with an error."""
    duplicates: int
    """Number of inputs that share the score of another input with the same bytes."""
    earlier: int
    """Number of rows written by earlier runs."""
    standings: Mapping[Standing, int] = field(default_factory=dict)
    """Inputs scored in this run, by why they were scored; unchanged inputs only if ``--force`` was given."""
    unchanged: int = 0
    """Inputs of the source whose row was kept."""
    skipped: int = 0
    """Files of the source that are not photos."""
    failed_elsewhere: int = 0
    """Rows with an error whose input is no longer in the source."""
    seconds: float
    """Duration of this run, including listing and start-up."""
    cost: str

    @property
    def rows(self) -> int:
        """Number of rows in the output."""
        return self.verdicts.total() + self.failed

    @property
    def complete(self) -> bool:
        """Whether every input of the source has a verdict."""
        return self.failed == self.failed_elsewhere

    def summary(self, output: str | None = None) -> str:
        """Returns a summary in a few lines.

        Args:
            output: Where the rows are.
        """
        mine = self.rows - self.earlier
        return lines(
            f"{mine} files in {self.seconds:.1f} s{rate(mine, self.seconds)}; {self.rows} rows in all",
            scored=verdicts_line(self.verdicts) + (f", {self.duplicates} duplicates" if self.duplicates else ""),
            failed=failures_line(self.failed, output),
            files=standings_line(self.standings, self.unchanged, self.skipped),
            cost=self.cost,
        )


def take_stock(
    output: Place, earlier: int, count: Count, seconds: float, price: float, todo: Todo | None = None, skipped: int = 0
) -> CatalogueReport:
    """Counts the rows of an output.

    Args:
        output: The output.
        earlier: Number of rows written by earlier runs.
        count: Totals of this run.
        seconds: Duration of this run.
        price: Price of one core-hour.
        todo: The work of this run.
        skipped: Number of files that are not photos.
    """
    todo = todo or Todo()
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
        standings=todo.standings,
        unchanged=todo.unchanged,
        skipped=skipped,
        failed_elsewhere=todo.failed_elsewhere,
        seconds=seconds,
        cost=cost(count, price) if count.done else "nothing was left to do",
    )


def known_scores(output: Place) -> Iterator[dict[str, Row]]:
    """Yields the scores in an output by the sha256 of the photo, as rows without a path; failed rows are left out."""
    names = ["verdict", "probability", "confidence", "model_version", "error"]
    for batch in _batches(output, ["sha256", *names]):
        yield {row.pop("sha256"): Row(path="", **row) for row in batch.to_pylist() if _is_score(row)}


def _is_score(row: dict[str, Any]) -> bool:
    return bool(row["sha256"]) and not row["error"]  # failed inputs are tried again


def _batches(output: Place, columns: list[str]) -> Iterator[Any]:
    parts = dataset.dataset(
        output.path, filesystem=output.system, format="parquet", schema=SCHEMA, exclude_invalid_files=False
    )
    yield from parts.to_batches(columns=columns)
