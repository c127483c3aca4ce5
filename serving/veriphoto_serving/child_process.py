"""Programs beside the server, each in a process of its own, which ends with this one and never takes it along."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_GRACE_S: Final = 5.0

_libc: Final = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def child_process(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program for the length of a block.

    Args:
        command: Its command line.
        environment: All of its environment.
        log: Where its output goes.

    Yields:
        The process.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in a terminal is ours to handle
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - it makes one system call
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
