"""All connections together: how many there may be, who has to make room, and who does not read what they asked for."""

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
"""Connections beyond the limit that may only probe: whoever asks whether the gateway lives must be able to ask."""

_PATIENCE_S: Final = 2.0
"""After this a body that still arrives, or an answer that is not read, may have to make room."""
_LOOKED_AT: Final = 64
_SWEEP_S: Final = 1.0
_LEAST_BYTES_S: Final = 4_000
"""Whoever takes their answer more slowly does not read it: 4 kB/s is slower than any telephone."""
_MOST_UNSENT: Final = 64_000_000
"""Answers that wait to be read, of all connections together."""


class Connection(Protocol):
    """What the crowd must know of a connection."""

    transport: asyncio.Transport

    def still_uploads(self) -> bool:
        """Tells whether a request's body is still arriving."""


class ConnectionLimits:
    """The connections of one gateway, on one event loop."""

    def __init__(self, most: int, write_timeout: float, observe: Callable[[str], None] = lambda _: None) -> None:
        """Sets the bounds.

        Args:
            most: Connections at a time.
            write_timeout: Seconds in which somebody must have taken a part of their answer.
            observe: Told why a connection was ended: ``idle``, ``slow_upload``, ``not_read``, ``full``.
        """
        self._most = most
        self._write_timeout = write_timeout
        self._observe = observe
        # Both in the order in which they came in, oldest first, with the time.
        self._idle: dict[Connection, float] = {}
        self._busy: dict[Connection, float] = {}
        self._unread: dict[Connection, tuple[int, float]] = {}
        """Bytes not sent, and since when they are that many."""
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    def admit(self, connection: Connection) -> bool | None:
        """Takes a new connection in, and ends another one for it where there are too many.

        Returns:
            True if it may ask for anything, False if it may only probe, None if it was turned away.
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
        """Notes that a request has come in."""
        if self._idle.pop(connection, None) is not None:
            self._busy[connection] = time.monotonic()

    def waits(self, connection: Connection) -> None:
        """Notes that the last request was answered."""
        if self._busy.pop(connection, None) is not None:
            self._idle[connection] = time.monotonic()

    def leave(self, connection: Connection) -> None:
        """Forgets a connection."""
        self._idle.pop(connection, None)
        self._busy.pop(connection, None)
        self._unread.pop(connection, None)

    def _make_room(self) -> bool:
        """Ends who is needed least: who has been idle longest, else a slow upload, else an answer that is not read."""
        if len(self._busy) < self._most:  # else the idle ones are in the spare places
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
            connection.transport.close()  # as after the usual time: the caller's library expects that
        else:
            connection.transport.abort()

    def _sweep(self) -> None:
        """Looks how much each has taken of its answer. Closing waits for that as well, so closing ones count too."""
        now, unread = time.monotonic(), {}
        for connection in (*self._idle, *self._busy):
            if unsent := _unsent(connection.transport):
                before, since = self._unread.get(connection, (unsent, now))
                reads = before - unsent >= _LEAST_BYTES_S * (now - since)
                unread[connection] = (unsent, now) if reads else (max(before, unsent), since)
        # Who has waited longest first; a first look leaves since at now.
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
    """Returns the bytes that wait in the process, and those in the kernel behind them; 0 where the process has none.

    The kernel takes megabytes at a time, so what waits here alone stands still for a slow reader too.
    """
    waiting = transport.get_write_buffer_size()
    if not waiting:
        return 0
    answer = bytearray(4)
    with contextlib.suppress(OSError):
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, answer)
    return waiting + int.from_bytes(answer, sys.byteorder)
