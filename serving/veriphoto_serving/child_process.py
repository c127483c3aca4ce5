"""Child processes beside the server: restarted when they end, and never alive longer than this process."""

from __future__ import annotations

import contextlib
import ctypes
import logging
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
"""Pauses before restarts; the last one repeats, and a program that ran for a minute starts over with the first."""
_LONG_S: Final = 60.0
_LOOK_S: Final = 0.5

_LOG: Final = logging.getLogger(__name__)
_libc: Final = ctypes.CDLL(None, use_errno=True)


class ChildProcess:
    """A program that is restarted whenever it ends by itself."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Starts nothing yet.

        Args:
            command: Its command line.
            environment: Its complete environment.
            log: File for its output.
        """
        self._command, self._environment, self._log = command, environment, log
        self.process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=log.stem, daemon=True)

    def start(self) -> None:
        """Starts the program; the log of the last time is kept as ``.1``.

        Raises:
            OSError: If the log cannot be written.
        """
        if self._log.exists():
            self._log.replace(f"{self._log}.1")
        self._log.open("wb").close()
        self._keeper.start()

    def stop(self) -> None:
        """Ends the program."""
        self._over.set()
        self._keeper.join()

    def _keep(self) -> None:
        """Runs and restarts the program, and waits: the kernel ends it together with the thread that started it."""
        pauses = iter(_PAUSES_S)
        while not self._over.is_set():
            started = time.monotonic()
            with contextlib.suppress(OSError):
                self._run()
            if time.monotonic() - started > _LONG_S:
                pauses = iter(_PAUSES_S)
            pause = next(pauses, _PAUSES_S[-1])
            if not self._over.is_set():
                _LOG.warning("the %s ended and starts again in %g s; %s says why", self._log.stem, pause, self._log)
            self._over.wait(pause)

    def _run(self) -> None:
        with self._log.open("ab") as output:
            self.process = process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that Ctrl-C in a terminal reaches only us
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
    """Runs a program for the duration of a block and restarts it if it ends before.

    Args:
        command: Its command line.
        environment: Its complete environment.
        log: File for its output.

    Yields:
        The running child process.

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
