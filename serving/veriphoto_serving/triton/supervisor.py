"""Runs between the launcher and tritonserver, so that neither can end and leave processes or regions behind.

The kernel's "die with your parent" signal does too little alone: it follows the thread that started the child, not the
process, and it does not reach the stubs that the server starts. So this small process watches for both ends:

* the launcher is gone, however it died: the server is stopped as by SIGTERM;
* SIGTERM: the same;
* the server is gone, however it died: its stubs are killed and their shared-memory regions removed;
* this process itself is killed: the kernel sends the server SIGTERM.

It is started by its path with ``python -I -S`` to be quick, so it uses the standard library only. Its job arrives on
stdin, because a command line would show the server's secret; it answers with the server's process id on stdout and
ends with the server's exit status (128 + signal, as a shell says it).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PULSE_S: Final = 0.2
_CANNOT_START: Final = 127
_REAP_S: Final = 2.0

_libc: Final = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Runs one server to its end and returns its exit status."""
    job = json.load(sys.stdin)
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOP, signal.SIGCHLD})
    # Orphaned stubs become ours, and are reaped here even where process 1 does not reap.
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        server = _start(job)
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{job['argv'][0]} cannot be started: {error}\n")
        return _CANNOT_START
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    _watch(server, job)
    return _clean_up(server, job)


def _start(job: dict[str, Any]) -> subprocess.Popen[bytes]:
    supervisor = os.getpid()

    def in_the_child() -> None:
        os.setpgid(0, 0)  # its stubs share the group, and can be killed as one
        os.umask(0o077)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(_CANNOT_START)
        resource.setrlimit(resource.RLIMIT_STACK, (job["stack"], resource.getrlimit(resource.RLIMIT_STACK)[1]))
        signal.pthread_sigmask(signal.SIG_SETMASK, set())

    return subprocess.Popen(
        job["argv"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,  # the log; stdout is the launcher's
        stderr=sys.stderr,
        preexec_fn=in_the_child,  # noqa: PLW1509 - this process has one thread
    )


def _watch(server: subprocess.Popen[bytes], job: dict[str, Any]) -> None:
    """Returns once the server has ended, or was killed because it would not."""
    deadline = float("inf")
    while not _ended(server):
        # Regions hold people's pictures, and Triton makes them readable to all, at each load of a model.
        for region in _regions(job):
            with contextlib.suppress(FileNotFoundError):
                region.chmod(0o600)
        received = signal.sigtimedwait({*_STOP, signal.SIGCHLD}, _PULSE_S)
        asked = received is not None and received.si_signo in _STOP
        if deadline == float("inf") and (asked or os.getppid() != job["parent"]):
            # Not Popen's method: it reaps a server that has ended meanwhile, and its group could then not be found.
            os.kill(server.pid, signal.SIGTERM)
            deadline = time.monotonic() + job["grace_s"]
        if time.monotonic() > deadline:
            return


def _ended(server: subprocess.Popen[bytes]) -> bool:
    # Without reaping it: until then its process group cannot become another's.
    return os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _clean_up(server: subprocess.Popen[bytes], job: dict[str, Any]) -> int:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    status = server.wait()
    deadline = time.monotonic() + _REAP_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
    for region in _regions(job):
        region.unlink(missing_ok=True)
    return status if status >= 0 else 128 - status


def _regions(job: dict[str, Any]) -> list[Path]:
    start = Path(job["regions"])
    return list(start.parent.glob(f"{start.name}*"))


if __name__ == "__main__":
    sys.exit(main())
