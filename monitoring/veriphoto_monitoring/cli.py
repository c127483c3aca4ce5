"""The commands of the monitor."""

from __future__ import annotations

import typer

from veriphoto_client.commandline.parameters import with_options
from veriphoto_monitoring import commands
from veriphoto_monitoring.canary.command import canary


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
    app.command("canary")(with_options(canary))
    commands.register(app)
