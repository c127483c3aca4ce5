"""Programs beside the server, each in a process of its own, which ends with this one and never takes it along."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_GRACE_S: Final = 5.0
_PAUSES_S: Final = (0.5, 1.0, 5.0, 30.0)
"""Before a program that has ended is started again; the last one for good, the first after it ran for a minute."""
_LONG_S: Final = 60.0
_LOOK_S: Final = 0.5

_libc: Final = ctypes.CDLL(None, use_errno=True)


class ChildProcess:
    """One program, started again whenever it ends by itself."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Prepares.

        Args:
            command: Its command line.
            environment: All of its environment.
            log: Where its output goes.
        """
        self._command, self._environment, self._log = command, environment, log
        self.process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=log.stem, daemon=True)

    def start(self) -> None:
        """Starts it.

        Raises:
            OSError: If it cannot be started.
        """
        self._log.open("wb").close()
        self._keeper.start()

    def stop(self) -> None:
        """Ends it."""
        self._over.set()
        self._keeper.join()

    def _keep(self) -> None:
        """Runs it until the end. The kernel ends a process with the thread that started it, so this one waits, too."""
        pauses = iter(_PAUSES_S)
        while not self._over.is_set():
            started = time.monotonic()
            with contextlib.suppress(OSError):
                self._run()
            if time.monotonic() - started > _LONG_S:
                pauses = iter(_PAUSES_S)
            self._over.wait(next(pauses, _PAUSES_S[-1]))

    def _run(self) -> None:
        with self._log.open("ab") as output:
            self.process = process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in a terminal is ours to handle
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - it makes one system call
            )
        while process.poll() is None and not self._over.wait(_LOOK_S):
            pass
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def child_process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[ChildProcess]:
    """Runs a program for the length of a block, and again if it ends before.

    Args:
        command: Its command line.
        environment: All of its environment.
        log: Where its output goes.

    Yields:
        What keeps it.

    Raises:
        OSError: If the log cannot be written.
    """
    kept = ChildProcess(command, environment, log)
    kept.start()
    try:
        yield kept
    finally:
        kept.stop()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
