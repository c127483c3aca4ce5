"""What tests of the page and of the review desk share: the page in a process of its own, and a patient look at it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from veriphoto_client.page.command import page_process
from veriphoto_serving.triton.ports import free_ports

# It looks again until the page has settled; a count looks once, perhaps before the page's style has come.
expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; run: make test").expect
expect.set_options(timeout=30_000)


@contextlib.contextmanager
def serving(gateway: str, review: str = "", **environment: str) -> Iterator[str]:
    """Runs the page before a gateway, with the review desk on the database ``review``; yields its address."""
    (port,) = free_ports(1)
    command, variables = page_process(gateway, "127.0.0.1", port, review)
    process = subprocess.Popen(
        command, env={**variables, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, f"{command[0]} cannot run the page"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def look(page: Any, name: str) -> None:
    """Leaves a screenshot in the folder that VERIPHOTO_SCREENSHOTS names."""
    if folder := os.environ.get("VERIPHOTO_SCREENSHOTS"):
        page.wait_for_timeout(1500)
        width = page.viewport_size["width"]
        page.set_viewport_size({"width": width, "height": 1800})
        page.screenshot(path=str(Path(folder) / f"{name}-{width}.png"), full_page=True)
