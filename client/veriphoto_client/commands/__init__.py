"""The client's commands: ``scan``, ``predict``, ``health`` and ``page``."""

from __future__ import annotations

import typer

from veriphoto_client.commandline.parameters import with_options
from veriphoto_client.commands.engines import FOR_SCANS
from veriphoto_client.commands.health import health
from veriphoto_client.commands.predict import predict
from veriphoto_client.commands.scan import scan
from veriphoto_client.page.command import page


def register(app: typer.Typer) -> None:
    """Adds the client's commands to the command line.

    Args:
        app: The ``veriphoto`` command.
    """
    app.command("scan")(with_options(scan))
    app.command("predict")(with_options(predict, leave_out=FOR_SCANS))
    app.command("health")(with_options(health))
    app.command("page")(page)
