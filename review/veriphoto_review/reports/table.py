"""The figures as a table for a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from veriphoto_review.reports.figures import MARGIN, Figures, Tally
from veriphoto_review.reports.pages import interval, part, reviews


def tables(found: Figures) -> list[Table]:
    """Returns one table for all, and one each by shop, version and month."""
    return [
        _table("All", {"all": found.total}),
        _table("Shop", found.by_shop),
        _table("Version", found.by_version),
        _table("Month", found.by_month),
    ]


def _table(title: str, groups: dict[str, Tally]) -> Table:
    table = Table(title, box=None, pad_edge=False)
    points = f"for ±{MARGIN * 100:.0f}"
    for heading in ("answers", "flags", "judged", "flags right", points, "missed", points):
        table.add_column(heading, justify="right")
    for name, tally in groups.items():
        table.add_row(
            Text("".join(letter for letter in name if letter.isprintable()) or "not named"),
            str(sum(tally.answers.values())),
            str(tally.judged.trials),
            part(tally.judged),
            interval(tally.precision),
            reviews(tally.precision, tally.judged.trials, "flags"),
            interval(tally.missed),
            reviews(tally.missed, tally.answers.get("real", 0), "photos"),
        )
    return table
