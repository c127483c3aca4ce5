"""Prints a canary run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from veriphoto_monitoring.canary.results import Results
from veriphoto_monitoring.canary.verdict import MEASURES, GroupTally


def show(console: Console, results: Results, reference: Sequence[GroupTally]) -> None:
    """Prints a run: a table of all groups, a sentence about each alarm, and the groups that are not looked at any more.

    Args:
        console: Where to print.
        results: Results of the run.
        reference: Tallies that it was compared with; empty where there are none.
    """
    console.print(_table(results))
    for each in results.alarms:
        tally, before = each.tally, each.reference
        console.print(
            f"[bold red]ALARM[/bold red] {escape(tally.group)}: {MEASURES[tally.truth]} {_rate(tally)} "
            f"({tally.flagged} of {tally.pictures}{f', {tally.unreadable} refused' if tally.unreadable else ''}), "
            f"reference {_rate(before)} "
            f"({'' if each.known else 'all groups together, '}{before.flagged} of {before.pictures}), "
            f"adjusted p = {each.p_value:.2g}",
            soft_wrap=True,
        )
    here = {(tally.truth, tally.group) for tally in results.tallies}
    for tally in reference:
        if (tally.truth, tally.group) not in here:
            console.print(
                f"[yellow]not looked at[/yellow]: {tally.truth}/{escape(tally.group)} is in the reference, but the "
                "folder has no picture of it",
                soft_wrap=True,
            )


def _table(results: Results) -> Table:
    versions = ", ".join(map(str, results.model_versions)) or "none"
    table = Table(title=f"Canaries, model version {versions}", title_justify="left")
    for name in ("truth", "group"):
        table.add_column(name)
    for name in ("pictures", "unreadable", "flagged", "reference", "adjusted p"):
        table.add_column(name, justify="right")
    table.add_column("result")
    judged = {(each.tally.truth, each.tally.group): each for each in results.judged}
    for tally in results.tallies:
        found = judged.get((tally.truth, tally.group))
        row = [tally.truth, escape(tally.group), str(tally.pictures), str(tally.unreadable)]
        row.append(_rate(tally))
        if found is None:
            row += ["-", "-", "not compared"]
        else:
            name = "" if found.known else " (all)"
            row += [f"{_rate(found.reference)}{name}", f"{found.p_value:.3g}"]
            row.append("ALARM" if found.alarm else "ok" if found.can_alarm else "too few to tell")
        table.add_row(*row)
    return table


def _rate(tally: GroupTally) -> str:
    return f"{tally.rate:.1%}" if tally.pictures else "-"
