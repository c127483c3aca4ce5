"""Notices at once when a process of Triton dies on this machine: the kernel says so through a pidfd."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_STUB: Final = "triton_python_backend_stub"
_INSTANCE: Final = 8
"""Place of a model instance's name, such as ``preprocess_0_1``, on a stub's command line."""
_GRACE_S: Final = 0.005


class ProcessWatch:
    """Watches a server and the stubs of its models, on one event loop."""

    def __init__(self, alarm: Callable[[str], None]) -> None:
        """Prepares.

        Args:
            alarm: Told when a process that was needed is gone.
        """
        self._alarm = alarm
        self._server: int | None = None
        self._watched: dict[int, int] = {}
        self._instances: set[str] = set()
        self._survey: asyncio.Future[None] | None = None

    def watch(self, server: int | None) -> None:
        """Begins to watch a server that is known to work, or looks which processes it has now.

        Args:
            server: Its process id; None or a dead one stops watching.
        """
        if self._survey is None or self._survey.done():
            self._survey = asyncio.ensure_future(self._look_around(server))

    async def _look_around(self, server: int | None) -> None:
        if server != self._server:
            self._forget()
            self._server = server
        if server is None:
            return
        found = await asyncio.to_thread(stubs, server)  # milliseconds, which others should not wait
        self._instances = set(found.values())
        for process in (server, *found):
            self._add(process)

    def close(self) -> None:
        """Stops watching."""
        if self._survey is not None:
            self._survey.cancel()
        self._forget()

    def _forget(self) -> None:
        for process in list(self._watched):
            self._drop(process)
        self._server = None

    def _add(self, process: int) -> None:
        if process in self._watched:
            return
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(process)
            self._watched[process] = handle
            asyncio.get_running_loop().add_reader(handle, self._ended, process)

    def _drop(self, process: int) -> None:
        handle = self._watched.pop(process)
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)

    def _ended(self, process: int) -> None:
        self._drop(process)
        if process == self._server:
            self._alarm("the server's process has ended")
        else:
            # A version swap ends stubs too, after their successors have started: then no instance is missing.
            asyncio.get_running_loop().call_later(_GRACE_S, self._look)

    def _look(self) -> None:
        if self._server is None:
            return
        missing = self._instances - set(stubs(self._server).values())
        if missing:
            self._alarm(f"the process of {', '.join(sorted(missing))} has ended")


def stubs(server: int) -> dict[int, str]:
    """Finds the living stubs of a server.

    Args:
        server: Its process id.

    Returns:
        Process id -> name of the model instance.
    """
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, UnicodeDecodeError):
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) != server or state in "ZX":
                continue
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[0].decode().endswith(_STUB):
                found[int(process.name)] = words[_INSTANCE].decode()
    return found
