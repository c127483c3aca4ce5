"""Notices when a process of Triton on this machine dies, at once, or is stopped, within two seconds.

The kernel reports deaths through a pidfd. It does not report stopped processes, so those are polled for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Final

from veriphoto_serving.gateway.health.workers import is_stopped, stubs

_GRACE_S: Final = 0.005
_ROUND_S: Final = 1.0
"""Interval of polling for stopped processes; two polls must agree."""


class ProcessWatch:
    """Watches a server and the stub processes of its models, on one event loop."""

    def __init__(self, alarm: Callable[[str], None], stuck: Callable[[str], None] = lambda _: None) -> None:
        """Watches nothing yet.

        Args:
            alarm: Called with the reason if a needed process is gone or the server itself is stopped.
            stuck: Called with the name of a model instance whose process is stopped.
        """
        self._alarm = alarm
        self._stuck = stuck
        self._names: dict[int, str] = {}
        self._still: set[int] = set()
        self._round: asyncio.TimerHandle | None = None
        self._server: int | None = None
        self._watched: dict[int, int] = {}
        self._instances: set[str] = set()
        self._survey: asyncio.Future[None] | None = None

    def watch(self, server: int | None) -> None:
        """Starts to watch a server that is known to work, or updates the list of its processes.

        Args:
            server: Its process id; None stops watching.
        """
        if self._survey is None or self._survey.done():
            self._survey = asyncio.ensure_future(self._look_around(server))

    async def _look_around(self, server: int | None) -> None:
        if server != self._server:
            self._forget()
            self._server = server
        if server is None:
            return
        found = await asyncio.to_thread(stubs, server)  # takes milliseconds, too long for the event loop
        self._instances, self._names = set(found.values()), found
        for process in (server, *found):
            self._add(process)
        if self._round is None:
            self._look_for_stopped()

    def close(self) -> None:
        """Stops watching."""
        if self._survey is not None:
            self._survey.cancel()
        if self._round is not None:
            self._round.cancel()
        self._forget()

    def _forget(self) -> None:
        for process in list(self._watched):
            self._drop(process)
        self._server = None

    def _add(self, process: int) -> None:
        if process in self._watched:
            return
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(process)
            self._watched[process] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._ended, process)

    def _drop(self, process: int) -> None:
        descriptor = self._watched.pop(process)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)

    def _ended(self, process: int) -> None:
        self._drop(process)
        if process == self._server:
            self._alarm("the server's process has ended")
        else:
            # A version swap also ends stubs, but only after their successors have started: no instance is missing then.
            asyncio.get_running_loop().call_later(_GRACE_S, self._look)

    def _look_for_stopped(self) -> None:
        """Polls for stopped processes; reads one line per process, which takes microseconds."""
        before, self._still = self._still, {process for process in self._watched if is_stopped(process)}
        for process in before & self._still:
            if process == self._server:
                self._alarm("the server's process was stopped")
            elif process in self._names:
                self._stuck(self._names[process])
        self._round = asyncio.get_running_loop().call_later(_ROUND_S, self._look_for_stopped)

    def _look(self) -> None:
        if self._server is None:
            return
        missing = self._instances - set(stubs(self._server).values())
        if missing:
            self._alarm(f"the process of {', '.join(sorted(missing))} has ended")
