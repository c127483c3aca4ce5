"""The command ``veriphoto health``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from veriphoto.errors import ServiceUnavailableError
from veriphoto_client.commands.engines import ServerOptions
from veriphoto_client.sdk.synchronous import Detector
from veriphoto_client.triton.transport import DEFAULT_URL


def health(server: ServerOptions, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check that a server scores photos.

    Every option but --json is also an environment variable: --url is VERIPHOTO_URL.
    """
    with Detector(server.url or DEFAULT_URL, api_key=server.api_key, timeout=server.timeout) as detector:
        try:
            found = detector.health()
        except ServiceUnavailableError as error:
            if server.url:
                raise
            raise ServiceUnavailableError(f"{error.message}, or name one at another address with --url") from error
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        typer.echo(f"{found.url} is healthy: model version {found.model_version}, {found.latency_ms:.0f} ms")
