"""TCP ports of the loopback interface: finds free ones and says what uses the others."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_LISTEN: Final = "0A"


def free_ports(count: int, avoid: Collection[int] = ()) -> list[int]:
    """Finds free ports.

    Args:
        count: How many.
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


def obstacle(port: int) -> str:
    """Says why a server cannot listen on a port of the loopback interface.

    Args:
        port: The port.

    Returns:
        The reason; empty if the port is free.
    """
    with socket.socket() as probe:
        # Servers set this, too: connections in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            return f"port {port} is reserved for root"
        except OSError:
            return f"port {port} is taken by {holder(port)}"
    return ""


def holder(port: int) -> str:
    """Says who listens on a port.

    Args:
        port: The port.

    Returns:
        ``process 123 (python3 -m http.server)``, or ``another process`` if it belongs to another user.
    """
    sockets = {inode for _, number, inode in _listeners() if number == port}
    for process in Path("/proc").glob("[0-9]*"):
        if sockets & _sockets(process):
            return f"process {process.name} ({_title(process)})"
    return "another process"


def listening(pid: int) -> set[tuple[str, int]]:
    """Returns the addresses and ports that a process listens on.

    Args:
        pid: The process.
    """
    own = _sockets(Path(f"/proc/{pid}"))
    return {(address, port) for address, port, inode in _listeners() if inode in own}


def _sockets(process: Path) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    found.add(target[len("socket:[") : -1])
    return found


def _listeners() -> list[tuple[str, int, str]]:
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                columns = line.split()
                address, _, port = columns[1].partition(":")
                if columns[3] == _LISTEN:
                    found.append((_address(address), int(port, 16), columns[9]))
    return found


def _address(hexadecimal: str) -> str:
    """Reads an address as /proc/net/tcp writes it: in words of the machine's byte order."""
    packed = bytes.fromhex(hexadecimal)
    words = [packed[start : start + 4] for start in range(0, len(packed), 4)]
    address = ipaddress.ip_address(b"".join(word[::-1] if sys.byteorder == "little" else word for word in words))
    # A socket of both families writes 127.0.0.1 as ::ffff:127.0.0.1.
    return str(getattr(address, "ipv4_mapped", None) or address)


def _title(process: Path) -> str:
    words = [""]
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    return " ".join([Path(words[0]).name, *words[1:4]]).strip()
