"""The command ``veriphoto gateway``."""

from __future__ import annotations

import typer

from veriphoto.errors import MissingExtraError
from veriphoto.telemetry import logs
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.secrecy import conceal


def gateway(settings: GatewaySettings) -> None:
    """Start the REST gateway alone, in front of a Triton that runs elsewhere. `veriphoto serve` starts both.

    Every option is also an environment variable: --gateway-port is VERIPHOTO_GATEWAY_PORT.
    """
    try:
        from veriphoto_serving.gateway.server import run  # noqa: PLC0415 - keeps the command line light
    except ImportError as error:
        raise MissingExtraError("gateway", error.name) from error
    conceal()
    logs.configure("gateway")
    run(settings, ready=lambda address: typer.echo(f"Veriphoto's gateway listens at {address}"))
