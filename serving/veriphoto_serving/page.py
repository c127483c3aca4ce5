"""Runs the web page beside the gateway."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Final

from veriphoto.environment import without_secrets
from veriphoto_client.page.command import page_process
from veriphoto_serving.child_process import child_process
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.ports import LOOPBACK, free_ports

_KEY_BYTES: Final = 24


def require_page(review: str = "") -> None:
    """Makes sure that the page can be served, before anything else is started for it.

    Args:
        review: Database of the review desk; empty for a page without one.

    Raises:
        MissingExtraError: If what the page or the desk needs is not installed.
    """
    page_process("", LOOPBACK, 0, review)


def with_page_key(settings: GatewaySettings) -> tuple[GatewaySettings, str]:
    """Gives the page an API key of its own, where the gateway needs one.

    Args:
        settings: The gateway's settings.

    Returns:
        The settings with that key, under a name that no other key has, and the key; empty if none is needed.

    Raises:
        UsageError: As ``GatewaySettings.keys``.
    """
    taken = settings.keys()
    if not taken:
        return settings, ""
    names = chain(["page"], (f"page-{number}" for number in count(1)))
    name = next(each for each in names if each not in taken)
    key = secrets.token_urlsafe(_KEY_BYTES)
    return replace(settings, api_keys=f"{settings.api_keys},{name}={key}"), key


@contextlib.contextmanager
def serve_page(gateway_url: str, port: int, key: str, var: Path, review: str = "") -> Iterator[str]:
    """Runs the web page for the duration of a block.

    Args:
        gateway_url: Address of the gateway that it uses.
        port: Port to listen on; 0 picks a free one.
        key: Its API key; empty if none is needed.
        var: Directory for its log.
        review: Database of the review desk; empty for a page without one.

    Yields:
        Its address; it may take seconds until it answers.
    """
    port = port or free_ports(1)[0]
    command, environment = page_process(gateway_url, LOOPBACK, port, review)
    given = {"VERIPHOTO_API_KEY": key, "VERIPHOTO_REVIEW_DATABASE": review}
    with child_process(command, {**without_secrets(environment), **given}, var / "page.log"):
        yield f"http://{LOOPBACK}:{port}"
