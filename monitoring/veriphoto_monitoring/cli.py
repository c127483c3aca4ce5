"""The commands of the monitor."""

from __future__ import annotations

import typer

from veriphoto_monitoring.canary import canary
from veriphoto_monitoring.drift_cli import drift, monitor


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
    app.command()(canary)
    app.command()(monitor)
    app.add_typer(drift, name="drift")
