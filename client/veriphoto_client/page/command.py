"""The command ``veriphoto page``, and how to start the page beside something else."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from veriphoto.contract import GATEWAY_PORT
from veriphoto.errors import MissingExtraError, StartupError
from veriphoto.listening import listening_error
from veriphoto.shared_names import REVIEW_DATABASE

PAGE_PORT: Final = 8501


def page(
    gateway_url: Annotated[
        str, typer.Option(envvar="VERIPHOTO_GATEWAY_URL", help="The gateway: http://host:port.")
    ] = f"http://127.0.0.1:{GATEWAY_PORT}",
    page_host: Annotated[str, typer.Option(envvar="VERIPHOTO_PAGE_HOST", help="Address to listen on.")] = "127.0.0.1",
    page_port: Annotated[
        int, typer.Option(envvar="VERIPHOTO_PAGE_PORT", min=0, max=65535, help="Port to listen on.")
    ] = PAGE_PORT,
    review: Annotated[
        bool, typer.Option("--review", envvar="VERIPHOTO_REVIEW", help="Add the review desk, where cases are decided.")
    ] = False,
    review_database: Annotated[
        str, typer.Option(envvar="VERIPHOTO_REVIEW_DATABASE", help="Database of the review cases.")
    ] = REVIEW_DATABASE,
) -> None:
    """Start the web page in front of a gateway. Where that needs an API key, set VERIPHOTO_API_KEY."""
    command, environment = page_process(gateway_url, page_host, page_port, review_database if review else "")
    from veriphoto_client.page.gateway import require_address  # noqa: PLC0415 - keeps the command line light

    require_address(gateway_url)
    _require_port(page_host, page_port)
    # In this process's place: a container's first process gets the signals, and would not hand them on.
    os.execve(command[0], command, environment)


def _require_port(host: str, port: int) -> None:
    """Streamlit would say that the port is not available, and not what to do."""
    if error := listening_error(host, port):
        raise StartupError(f"{host}:{port} cannot be listened on: {error}; choose another with --page-port") from error


def page_process(gateway_url: str, host: str, port: int, review: str = "") -> tuple[list[str], dict[str, str]]:
    """Says how to start the page.

    Args:
        gateway_url: The gateway it asks.
        host: Address to listen on.
        port: Port to listen on.
        review: Database of the review desk; empty for a page without one, whatever the environment says.

    Returns:
        Command line and environment.

    Raises:
        MissingExtraError: If Streamlit is not installed, or the desk is asked for and is not.
    """
    if review and importlib.util.find_spec("sqlalchemy") is None:
        raise MissingExtraError("review", "sqlalchemy")
    if importlib.util.find_spec("streamlit") is None:
        raise MissingExtraError("page", "streamlit")
    from veriphoto_client.page.uploads import MOST_BYTES  # noqa: PLC0415 - keeps the command line light

    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "true",
        "server.maxUploadSize": str(MOST_BYTES >> 20),
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "theme.base": "light",
    }
    script = str(Path(__file__).with_name("app.py"))
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        script,
        *(f"--{key}={value}" for key, value in options.items()),
    ]
    return command, {**os.environ, "VERIPHOTO_GATEWAY_URL": gateway_url, "VERIPHOTO_REVIEW_DATABASE": review}
