"""TCP ports of the loopback interface: finds free ones and says what uses the others."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Final

import psutil

from veriphoto.listening import listening_error

LOOPBACK: Final = "127.0.0.1"


def free_ports(count: int, avoid: Collection[int] = ()) -> list[int]:
    """Finds free ports.

    Args:
        count: Number of ports.
        avoid: Ports not to return.

    Returns:
        Different ports that were free a moment ago; nothing keeps them free.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
            if port not in avoid:
                ports.append(port)
    return ports


def obstacle(port: int, host: str = LOOPBACK) -> str:
    """Says why a server cannot listen on a port.

    Args:
        port: The port; 0 means any.
        host: The address to listen on.

    Returns:
        The reason; empty if the port is free.
    """
    error = listening_error(host, port)
    if error is None:
        return ""
    if isinstance(error, PermissionError):
        return f"port {port} is reserved for root"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by {holder(port)}"
    return f"{host}:{port} cannot be listened on: {error}"


def holder(port: int) -> str:
    """Says who listens on a port.

    Args:
        port: The port.

    Returns:
        ``process 123 (python3 -m http.server)``, or ``another process`` if it belongs to another user.
    """
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid is not None:
            with contextlib.suppress(psutil.Error):
                return f"process {connection.pid} ({_title(psutil.Process(connection.pid))})"
    return "another process"


def listening(pid: int) -> set[tuple[str, int]]:
    """Returns the addresses and ports that a process listens on.

    Args:
        pid: The process.
    """
    return {
        # A socket of both families writes 127.0.0.1 as ::ffff:127.0.0.1.
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def _title(process: psutil.Process) -> str:
    words = process.cmdline() or [process.name()]
    return " ".join([Path(words[0]).name, *words[1:4]])
