"""Counts what a scan has done, and summarises it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from veriphoto_client.scan.resume import Standing
from veriphoto_client.scan.rows import Row


@dataclass(kw_only=True, slots=True)
class ScanReport:
    """Counts of the files of a scan, updated while it runs."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Files scored in this run, by verdict."""
    failed: int = 0
    """Files of this run whose row holds an error."""
    standings: Counter[Standing] = field(default_factory=Counter)
    """Files scored in this run, by why they were scored; unchanged files only if ``--force`` was given."""
    kept: Counter[int | None] = field(default_factory=Counter)
    """Files whose row was kept, by the model version in it."""
    model_version: int | None = None
    """The version that scores; None where nothing has said it yet."""
    skipped: int = 0
    """Files that are not photos."""
    failed_before: int = 0
    """Rows with an error in the output when it was opened."""
    seconds: float = 0.0
    engine: str = ""
    """Name of the engine, as the summary shows it."""

    @property
    def scored(self) -> int:
        """Files scored in this run."""
        return self.verdicts.total()

    @property
    def unchanged(self) -> int:
        """Files whose row was kept."""
        return self.kept.total()

    @property
    def complete(self) -> bool:
        """Whether every photo found has a verdict."""
        return not self.failed

    def add(self, row: Row, standing: Standing) -> None:
        """Counts a row that was written."""
        self.standings[standing] += 1
        if row.error:
            self.failed += 1
        else:
            self.verdicts[str(row.verdict)] += 1
            self.model_version = row.model_version

    def summary(self) -> str:
        """Returns a summary in one line."""
        kinds = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.verdicts.items()))
        rate = (self.scored + self.failed) / self.seconds if self.seconds else 0.0
        shown = f" ({kinds})" if kinds else ""
        by = f"; scored by {self.engine}" if self.engine else ""
        return (
            f"{self.scored + self.failed} files in {self.seconds:.1f} s, {rate:.1f} images/s: "
            f"{self.scored} scored{shown}, {self.failed} failed; "
            f"{standings_line(self.standings, self.unchanged, self.skipped)}{self._elsewhere()}{by}{self._of_others()}"
        )

    def _elsewhere(self) -> str:
        left = self.failed_before - self.standings[Standing.FAILED]
        return f"; {left} rows of files that were not found now hold an error" if left > 0 else ""

    def _of_others(self) -> str:
        mine = self.model_version
        others = sorted((version or 0, count) for version, count in self.kept.items() if version != mine)
        if mine is None or not others:
            return ""
        kept = ", ".join(f"{count} of version {version or 'unknown'}" for version, count in others)
        return f"; kept rows of other model versions: {kept} (--force scores all photos with version {mine})"


def standings_line(standings: Mapping[Standing, int], unchanged: int, skipped: int) -> str:
    """Summarises how many files were new, changed, unchanged and so on.

    Args:
        standings: Number of scored files, by why they were scored.
        unchanged: Number of files not scored because they have not changed.
        skipped: Number of files that are not photos.
    """
    forced = standings.get(Standing.UNCHANGED, 0)
    words = [f"{standings.get(each, 0)} {each}" for each in Standing if each is not Standing.UNCHANGED]
    words += [f"{forced} forced"] if forced else []
    return ", ".join([*words, f"{unchanged} unchanged", f"{skipped} skipped (no pictures)"])
