"""The commands of the monitor."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds this package's commands.

    Args:
        app: The command line to add to.
    """
