"""Tells whether a server could listen at an address, before it is started."""

from __future__ import annotations

import socket


def listening_error(host: str, port: int) -> OSError | None:
    """Binds a socket for a moment.

    Args:
        host: The address to listen on, or its name.
        port: The port; 0 means any.

    Returns:
        What the system says against it; None if the port is free.
    """
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # Servers set this, too: connections in TIME_WAIT are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return error
    return None
