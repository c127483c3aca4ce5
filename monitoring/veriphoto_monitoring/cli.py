"""The commands of the monitor."""

from __future__ import annotations

import typer

from veriphoto_monitoring.canary.command import canary
from veriphoto_monitoring.commands import drift, monitor


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
    app.command()(canary)
    app.command()(monitor)
    app.add_typer(drift, name="drift")
