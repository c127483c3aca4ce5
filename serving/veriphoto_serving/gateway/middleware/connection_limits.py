"""Limits across all connections: how many there are, which to close for new ones, and which do not read answers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sys
import termios
import time
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

SPARE: Final = 32
"""Connections beyond the limit that may only use the health routes, so that health checks always get through."""

_PATIENCE_S: Final = 2.0
"""Seconds after which a slow upload or an unread answer may be dropped to make room."""
_LOOKED_AT: Final = 64
_SWEEP_S: Final = 1.0
_LEAST_BYTES_S: Final = 4_000
"""Callers below this rate count as not reading: 4 kB/s is slower than any mobile network."""
_MOST_UNSENT: Final = 64_000_000
"""Limit for unread answers of all connections together."""


class Connection(Protocol):
    """What the limits need to know of a connection."""

    transport: asyncio.Transport

    def still_uploads(self) -> bool:
        """Tells whether a request's body is still arriving."""


class ConnectionLimits:
    """The connections of one gateway, on one event loop."""

    def __init__(self, most: int, write_timeout: float, observe: Callable[[str], None] = lambda _: None) -> None:
        """Sets the limits.

        Args:
            most: Maximum number of connections.
            write_timeout: Seconds after which a caller that reads nothing of its answer is cut off.
            observe: Called with the reason for closing a connection: ``idle``, ``slow_upload``, ``not_read``, ``full``.
        """
        self._most = most
        self._write_timeout = write_timeout
        self._observe = observe
        # Both by time of their last change, oldest first.
        self._idle: dict[Connection, float] = {}
        self._busy: dict[Connection, float] = {}
        self._unread: dict[Connection, tuple[int, float]] = {}
        """Unsent bytes, and since when that number has not dropped."""
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    def admit(self, connection: Connection) -> bool | None:
        """Admits a new connection, and closes another one for it if there are too many.

        Returns:
            True if it may use all routes, False if only the health routes, None if it was rejected.
        """
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
        room = len(self) < self._most or self._make_room()
        if not room and len(self) >= self._most + SPARE:
            if not self._idle:
                self._end(connection, "full")
                return None
            self._end(next(iter(self._idle)), "idle")
        self._idle[connection] = time.monotonic()
        return room

    def works(self, connection: Connection) -> None:
        """Marks a connection as busy: a request has arrived."""
        if self._idle.pop(connection, None) is not None:
            self._busy[connection] = time.monotonic()

    def waits(self, connection: Connection) -> None:
        """Marks a connection as idle: its last request was answered."""
        if self._busy.pop(connection, None) is not None:
            self._idle[connection] = time.monotonic()

    def leave(self, connection: Connection) -> None:
        """Removes a connection."""
        self._idle.pop(connection, None)
        self._busy.pop(connection, None)
        self._unread.pop(connection, None)

    def _make_room(self) -> bool:
        """Closes the longest idle connection, else a slow upload, else one with an unread answer."""
        if len(self._busy) < self._most:  # otherwise the idle ones are in the spare places
            self._end(next(iter(self._idle)), "idle")
            return True
        now = time.monotonic()
        for connection, since in islice(self._busy.items(), _LOOKED_AT):
            if now - since < _PATIENCE_S:
                break
            if connection.still_uploads():
                self._end(connection, "slow_upload")
                return True
        for connection, (_, since) in islice(self._unread.items(), _LOOKED_AT):
            if now - since >= _PATIENCE_S:
                self._end(connection, "not_read")
                return True
        return False

    def _end(self, connection: Connection, why: str) -> None:
        self._observe(why)
        self.leave(connection)
        if why == "idle" and not connection.transport.get_write_buffer_size():
            connection.transport.close()  # HTTP libraries expect idle connections to be closed
        else:
            connection.transport.abort()

    def _sweep(self) -> None:
        """Checks how much each caller has read of its answer, on closing connections as well."""
        now, unread = time.monotonic(), {}
        for connection in (*self._idle, *self._busy):
            if unsent := _unsent(connection.transport):
                before, since = self._unread.get(connection, (unsent, now))
                reads = before - unsent >= _LEAST_BYTES_S * (now - since)
                unread[connection] = (unsent, now) if reads else (max(before, unsent), since)
        # The longest stalled first.
        self._unread = dict(sorted(unread.items(), key=lambda item: item[1][1]))
        total = sum(connection.transport.get_write_buffer_size() for connection in self._unread)
        for connection, (_, since) in list(self._unread.items()):
            size = connection.transport.get_write_buffer_size()
            if now - since >= self._write_timeout or total > _MOST_UNSENT:
                total -= size
                self._end(connection, "not_read")
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep) if len(self) else None


def _unsent(transport: asyncio.Transport) -> int:
    """Returns the unsent bytes in the process and in the kernel; 0 if the process has none.

    The kernel takes megabytes at a time, so the process's own buffer stands still for a slow reader, too.
    """
    waiting = transport.get_write_buffer_size()
    if not waiting:
        return 0
    answer = bytearray(4)
    with contextlib.suppress(OSError):
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, answer)
    return waiting + int.from_bytes(answer, sys.byteorder)
