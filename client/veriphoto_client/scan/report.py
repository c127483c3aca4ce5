"""Counts what a scan has done, and summarises it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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

    def summary(self, output: Path | str | None = None) -> str:
        """Returns a summary in a few lines.

        Args:
            output: Where the rows are; None for standard output.
        """
        files = self.scored + self.failed
        by = f", scored by {self.engine}" if self.engine else ""
        left = self.failed_before - self.standings[Standing.FAILED]
        return lines(
            f"{files} files in {self.seconds:.1f} s{rate(files, self.seconds)}{by}",
            scored=verdicts_line(self.verdicts),
            failed=failures_line(self.failed, output),
            files=standings_line(self.standings, self.unchanged, self.skipped),
            earlier=f"{left} rows of files that were not found now hold an error" if left > 0 else "",
            versions=self._of_others(),
        )

    def _of_others(self) -> str:
        mine = self.model_version
        others = sorted((version or 0, count) for version, count in self.kept.items() if version != mine)
        if mine is None or not others:
            return ""
        kept = ", ".join(f"{count} of version {version or 'unknown'}" for version, count in others)
        return f"kept rows of other model versions: {kept} (--force scores all photos with version {mine})"


def lines(first: str, **others: str) -> str:
    """Sets a summary below its first line.

    Args:
        first: What was done, and how fast.
        others: Further lines by their headings; empty ones are left out.
    """
    return "\n".join([first, *(f"  {heading + ':':<10}{line}" for heading, line in others.items() if line)])


def rate(files: int, seconds: float) -> str:
    """Words a speed, where there is one, to stand behind a duration."""
    return f", {files / seconds:.1f} images/s" if files and seconds else ""


def verdicts_line(verdicts: Mapping[str, int]) -> str:
    """Summarises how many photos were scored, and how."""
    kinds = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    return f"{sum(verdicts.values())} ({kinds})" if kinds else "0"


def failures_line(failed: int, output: Path | str | None = None) -> str:
    """Summarises how many files failed, and where the reasons are.

    Args:
        failed: Their number.
        output: Where the rows are; None for standard output.
    """
    return f"{failed} (reasons under 'error' in {output or 'the output'})" if failed else "0"


def standings_line(standings: Mapping[Standing, int], unchanged: int, skipped: int) -> str:
    """Summarises how many files were new, changed, unchanged and so on; what there were none of is left out.

    Args:
        standings: Number of scored files, by why they were scored.
        unchanged: Number of files not scored because they have not changed.
        skipped: Number of files that are not photos.
    """
    counts: dict[str, int] = {each: standings.get(each, 0) for each in Standing if each is not Standing.UNCHANGED}
    counts["forced"] = standings.get(Standing.UNCHANGED, 0)
    counts |= {Standing.UNCHANGED: unchanged, "skipped (no pictures)": skipped}
    return ", ".join(f"{count} {words}" for words, count in counts.items() if count)
