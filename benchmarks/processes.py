"""CPU time and memory of whole process trees, and workers that do blocks of work when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, cast

ROOT: Final = Path(__file__).parent.parent
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Returns a process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found.extend(children.get(each, ()))
    return found


def runs(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not, nor one that ends while it is looked at."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return _stat(pid)[0] != "Z"
    return False


def cpu_seconds(pids: Iterable[int]) -> float:
    """Returns the CPU time that processes have used, with that of children they have waited for."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += sum(int(field) for field in _stat(pid)[11:15])
    return total / _TICKS


def own_cpu_seconds(pid: int) -> float:
    """Returns the CPU time that a process has used itself, without that of children it has waited for.

    Raises:
        OSError: If it is gone.
    """
    return sum(int(field) for field in _stat(pid)[11:13]) / _TICKS


def peak_rss_mb(pids: Iterable[int]) -> float:
    """Returns the sum of the processes' largest resident sizes in MB; pages that they share count for each."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
    return total / 1000.0


def proportional_mb(pids: Iterable[int]) -> float:
    """Returns what processes hold now in MB, shared pages divided among those that share them."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1000.0


@contextmanager
def paused(pids: Iterable[int]) -> Iterator[None]:
    """Holds processes still for the length of a block, so that they take no time from what is measured."""
    held = list(pids)
    _tell(held, signal.SIGSTOP)
    try:
        yield
    finally:
        _tell(held, signal.SIGCONT)


def _tell(pids: list[int], what: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


def _stat(pid: int) -> list[str]:
    """Returns the fields of proc(5)'s stat from the third on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Worker:
    """A module of ours in a process of its own, which answers one line of JSON with another."""

    def __init__(self, module: str, *arguments: str, python: str = sys.executable, **environment: str) -> None:
        """Starts it.

        Args:
            module: Its name.
            arguments: Its command line.
            python: Which interpreter.
            environment: Added to this process's own.
        """
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **_allocation(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environment},
        )
        # Both are pipes, because we asked for them.
        self._orders = cast(IO[str], self._process.stdin)
        self._answers = cast(IO[str], self._process.stdout)

    def send(self, order: dict[str, Any]) -> None:
        """Gives an order without waiting."""
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()

    def receive(self) -> dict[str, Any]:
        """Waits for an answer."""
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"a worker of the benchmark ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Gives an order and waits for its answer."""
        self.send(order)
        return self.receive()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._orders.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def _allocation() -> dict[str, str]:
    """Returns how the launcher has stubs use memory; which the former commit keeps elsewhere."""
    from veriphoto.sessions import PROCESS_ENVIRONMENT  # noqa: PLC0415 - the former commit has none

    return dict(PROCESS_ENVIRONMENT)


def orders() -> Iterator[dict[str, Any]]:
    """Yields the orders that a worker gets."""
    for line in sys.stdin:
        yield json.loads(line)


def reply(answer: dict[str, Any]) -> None:
    """Answers an order."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
