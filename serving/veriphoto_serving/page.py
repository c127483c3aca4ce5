"""Runs the web page beside the gateway."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from veriphoto_client.page.command import page_process
from veriphoto_serving.child_process import child_process
from veriphoto_serving.triton.ports import LOOPBACK, free_ports


@contextlib.contextmanager
def serve_page(gateway_url: str, port: int, key: str, var: Path, review: str = "") -> Iterator[str]:
    """Runs the page for the length of a block.

    Args:
        gateway_url: The gateway it asks.
        port: Port to listen on; 0 picks a free one.
        key: Its API key; empty where none is needed.
        var: Directory for its log.
        review: Database of the review desk; empty for a page without one.

    Yields:
        Its address. It may take seconds until it answers there.
    """
    port = port or free_ports(1)[0]
    command, environment = page_process(gateway_url, LOOPBACK, port, review)
    with child_process(command, {**environment, "VERIPHOTO_API_KEY": key}, var / "page.log"):
        yield f"http://{LOOPBACK}:{port}"
