"""What the processes of a Triton on this machine are doing: working, waiting or stopped."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import psutil

Activity = Literal["answers", "works", "idle"]

_STUB: Final = "triton_python_backend_stub"
_INSTANCE: Final = 8
"""Index of the instance name, such as ``preprocess_0_1``, on a stub's command line."""
_ENDED: Final = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_WORKING: Final = 0.03
"""Share of one core above which a process counts as working; idle ones use a tenth of that."""
_COMPUTING: Final = 0.01
"""Share of the time in which a thread was not waiting for a processor; one that only wakes up now and then uses a tenth
of that."""
_NAME: Final = re.compile(r"(\w+)_\d+_\d+")


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread of a process, in seconds since it began."""

    computed: float
    queued: float
    """Ready to compute and without a processor, because others had them."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of a server."""

    instance: str
    """The model instance that it runs; empty for the server itself."""
    seconds: float
    """Processor time that it has used."""
    state: str
    """One of psutil's ``STATUS_`` constants."""
    threads: Mapping[int, Thread] = field(default_factory=dict)
    """By id; empty where the kernel does not tell."""

    @property
    def model(self) -> str:
        """The model whose instance it runs."""
        return model_of(self.instance)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped by a signal."""
        return bool(self.state == psutil.STATUS_STOPPED)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a server at one moment."""

    answered: int | None = None
    """Requests answered since it started; None if unknown."""
    workers: Mapping[int, Worker] = field(default_factory=dict)
    """The server and the processes of its models, by process id."""
    at: float = field(default_factory=time.monotonic)

    def since(self, earlier: Snapshot) -> Activity | None:
        """Tells what the server has done since an earlier snapshot.

        Args:
            earlier: The earlier snapshot.

        Returns:
            ``answers`` if a request was answered, ``works`` if a process at least computes, ``idle`` if neither;
            None if nothing is known.
        """
        if self.answered is not None and earlier.answered is not None and self.answered > earlier.answered:
            return "answers"
        if self.working(earlier):
            return "works"
        return None if self.answered is None and not self.workers else "idle"

    def working(self, earlier: Snapshot) -> set[str]:
        """Returns the models (empty name: the server itself) that compute, or would if others left them a processor.

        Args:
            earlier: The earlier snapshot.
        """
        least = max(_TICK_S, _WORKING * (self.at - earlier.at))
        return {
            now.model
            for process, now in self.workers.items()
            if (then := earlier.workers.get(process)) is not None
            and not now.stopped
            and (
                now.seconds - then.seconds > least
                or now.state == then.state == psutil.STATUS_RUNNING
                or any(self._computing(now, then, earlier.at))
            )
        }

    def granted(self, earlier: Snapshot) -> float:
        """Returns the seconds since an earlier snapshot, without those in which computing threads had no processor.

        Args:
            earlier: The earlier snapshot.
        """
        pairs = [(now, earlier.workers[process]) for process, now in self.workers.items() if process in earlier.workers]
        free = (seconds for now, then in pairs for seconds in self._computing(now, then, earlier.at))
        return min(free, default=self.at - earlier.at)

    def _computing(self, now: Worker, then: Worker, since: float) -> Iterator[float]:
        """Yields the seconds for which each thread that computes was not kept from it.

        Where a hundred threads compute on two processors, each of them has a fiftieth of one; so what it has used is
        compared with the time in which it was not waiting for its turn.
        """
        for number, thread in now.threads.items():
            if (before := then.threads.get(number)) is not None:
                free = max(0.0, self.at - since - (thread.queued - before.queued))
                if thread.computed - before.computed > _COMPUTING * free:
                    yield free


def survey(server: int) -> dict[int, Worker]:
    """Finds a server's process and the living stubs of its models.

    Args:
        server: Its process id.
    """
    found: dict[int, Worker] = {}
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(server)
        for process in (parent, *parent.children()):
            # Processes may end at any moment, also between two of these questions.
            with contextlib.suppress(psutil.Error, IndexError), process.oneshot():
                state, times = process.status(), process.cpu_times()
                if state in _ENDED:
                    continue
                seconds = times.user + times.system
                if process.pid == server:
                    found[server] = Worker("", seconds, state, _threads(server))
                elif (words := process.cmdline())[0].endswith(_STUB):
                    found[process.pid] = Worker(words[_INSTANCE], seconds, state, _threads(process.pid))
    return found


def _threads(process: int) -> dict[int, Thread]:
    """Reads what the kernel's scheduler knows of a process's threads."""
    found = {}
    for file in Path(f"/proc/{process}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            computed, queued = (int(word) / 1e9 for word in file.read_text(encoding="ascii").split()[:2])
            found[int(file.parent.name)] = Thread(computed, queued)
    return found


def stubs(server: int) -> dict[int, str]:
    """Finds the living stubs of a server.

    Args:
        server: Its process id.

    Returns:
        Process id -> name of the model instance.
    """
    return {process: worker.instance for process, worker in survey(server).items() if worker.instance}


def is_stopped(process: int) -> bool:
    """Tells whether a process was stopped by a signal."""
    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def model_of(text: str) -> str:
    """Returns the model of the first instance that a text names, such as ``Stub process 'preprocess_0_1' is ...``."""
    found = _NAME.search(text)
    return found[1] if found else ""
