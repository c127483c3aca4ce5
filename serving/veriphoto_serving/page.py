"""Runs the web page beside the gateway, in a process of its own that ends with this one."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from veriphoto_client.page.command import page_process
from veriphoto_serving.ports import LOOPBACK, free_ports

_PR_SET_PDEATHSIG: Final = 1
_GRACE_S: Final = 5.0

_libc: Final = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def serve_page(gateway_url: str, port: int, key: str, var: Path) -> Iterator[str]:
    """Runs the page for the length of a block.

    Args:
        gateway_url: The gateway it asks.
        port: Port to listen on; 0 picks a free one.
        key: Its API key; empty where none is needed.
        var: Directory for its log.

    Yields:
        Its address. It may take seconds until it answers there.
    """
    port = port or free_ports(1)[0]
    command, environment = page_process(gateway_url, LOOPBACK, port)
    with (var / "page.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**environment, "VERIPHOTO_API_KEY": key},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in a terminal is ours to handle
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - it makes one system call
        )
    try:
        yield f"http://{LOOPBACK}:{port}"
    finally:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
