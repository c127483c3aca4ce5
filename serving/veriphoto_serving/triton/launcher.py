"""Runs one Triton: starts it, waits until it is ready, stops it, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from veriphoto.errors import MissingExtraError, StartupError, VeriphotoError
from veriphoto_client.triton.admin import TritonAdmin
from veriphoto_serving.triton import server_file, shared_memory, supervisor
from veriphoto_serving.triton.installation import Installation, child_environment, find_installation, lay_out, link
from veriphoto_serving.triton.options import BACKENDS_DIRECTORY, MODELS_LINK, TritonOptions
from veriphoto_serving.triton.ports import LOOPBACK, obstacle

STACK_BYTES: Final = 64 * 1024 * 1024
"""Triton parses some request bodies on its stack: with the usual 8 MB, 4.2 MB of form data crash it."""

_TAIL_BYTES: Final = 64_000
_TAIL_LINES: Final = 20
_POLL_S: Final = 0.05
_READY_S: Final = 1.0
_KILL_AFTER_S: Final = 5.0
_CRASHES: Final = frozenset(128 + number for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV))
"""The supervisor's exit statuses that say the server crashed; one that was stopped or ended by itself has others."""


class TritonServer:
    """A Triton under this process: a context manager that is ready inside its block.

    It ends with this process, however this process ends.

    Attributes:
        options: The options it runs with, ports and flavour resolved.
        installation: The server it runs.
        http_url: ``127.0.0.1:port`` of HTTP; none of the addresses has a scheme.
        grpc_url: ``127.0.0.1:port`` of gRPC.
        metrics_url: ``127.0.0.1:port`` of the metrics.
        log: The file it logs to.
        pid: Its process id while it runs.
    """

    def __init__(self, options: TritonOptions, installation: Installation | None = None) -> None:
        """Resolves ports and flavour; starts nothing.

        Args:
            options: How to start it.
            installation: The server to run; by default the one that ``find_installation`` finds.

        Raises:
            MissingExtraError: If there is none.
        """
        found = installation or find_installation()
        if found is None:
            raise MissingExtraError("serving", "pytriton")
        self.options = options.resolve(found)
        self.http_url, self.grpc_url, self.metrics_url = (f"{LOOPBACK}:{port}" for port in self.options.ports)
        self.log = self.options.log
        self.pid: int | None = None
        self.installation = found
        self._supervisor: subprocess.Popen[str] | None = None

    @property
    def admin_key(self) -> str:
        """Value of the header ``ADMIN_HEADER``, which unlocks the restricted APIs."""
        return self.options.admin_key

    def __enter__(self) -> TritonServer:
        """Starts the server and waits until it is ready."""
        try:
            self.launch()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server."""
        self.stop()

    def launch(self) -> None:
        """Starts the server and waits until it is ready, a second time where the first one crashed on the way.

        On a busy machine the Python backend now and then aborts before its first model is there
        (``boost::interprocess::lock_exception``; Triton server issues 5949 and 8882). A server that ends by itself, as
        over a model that does not load, has a reason and is not tried again.

        Raises:
            StartupError: As ``start`` and ``wait_ready`` do. The log of the first server is kept beside the second's.
        """
        try:
            self.start()
            self.wait_ready()
        except StartupError:
            if self._supervisor is None or self._supervisor.poll() not in _CRASHES:
                raise
            self.stop()
            self.start()
            self.wait_ready()

    def start(self) -> None:
        """Starts the server without waiting for it.

        Raises:
            StartupError: If a port is taken or the server cannot be started.
        """
        obstacles = [found for found in map(obstacle, self.options.ports) if found]
        if obstacles:
            raise StartupError("; ".join(obstacles))
        self._prepare_runtime()
        with _open_log(self.log) as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(supervisor.__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.options.runtime,
                env={**child_environment(self.installation), **self.options.environment},
                start_new_session=True,  # so that Ctrl-C in a terminal reaches us and not the server
            )
        job = {
            "argv": self.options.argv(self.installation),
            "parent": os.getpid(),
            "grace_s": self.options.exit_timeout_s + _KILL_AFTER_S,
            "stack": STACK_BYTES,
            "regions": str(shared_memory.DIRECTORY / self.options.region_prefix),
        }
        answer = _exchange(self._supervisor, json.dumps(job))
        if not answer:
            raise self._failure("the server could not be started")
        self.pid = int(answer)
        server_file.write(self.options, self.pid)

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Waits until the server and all its models are ready.

        Args:
            timeout_s: How long to wait; ``options.start_timeout_s`` by default.

        Raises:
            StartupError: If the server has ended, or is not ready in time; with the end of its log.
        """
        patience = self.options.start_timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + patience
        hidden = False
        while not self.is_ready():
            if not self.is_alive():
                raise self._failure("the server ended while it was starting")
            if time.monotonic() > deadline:
                raise self._failure(f"the server was not ready after {patience:g} s")
            if not hidden and self.log.stat().st_size:
                # Its first line of log says that it has read its command line.
                hide_argument(self.pid, self.admin_key)
                hidden = True
            time.sleep(_POLL_S)
        hide_argument(self.pid, self.admin_key)

    def is_ready(self) -> bool:
        """Asks the server whether all its models are ready."""
        try:
            return TritonAdmin(address=self.http_url, key=self.admin_key, timeout=_READY_S).ready()
        except VeriphotoError:
            return False

    def is_alive(self) -> bool:
        """Tells whether the server's process runs."""
        return self._supervisor is not None and self._supervisor.poll() is None

    def stop(self) -> None:
        """Stops the server: requests in flight may finish, then everything it started is gone."""
        if self._supervisor is None:
            return
        server_file.remove(self.options)
        self._supervisor.terminate()
        self._supervisor.send_signal(signal.SIGCONT)  # a stopped process would not receive SIGTERM
        try:
            self._supervisor.wait(self.options.exit_timeout_s + 2 * _KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        self._sweep()
        self._supervisor, self.pid = None, None

    def log_tail(self) -> str:
        """Returns the last lines of the server's log, without the tables it draws."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
            return "\n".join([line for line in lines if line.strip() and line[0] not in "+|"][-_TAIL_LINES:])
        return ""

    def _prepare_runtime(self) -> None:
        backend = self.options.runtime / BACKENDS_DIRECTORY / "python"
        try:
            backend.mkdir(parents=True, exist_ok=True)
            models = self.options.runtime / MODELS_LINK
            lay_out(self.options.model_repository.absolute(), models, asks=self.options.asks)
            for name, file in self.installation.python_backend.items():
                link(file, backend / name)
        except OSError as error:
            raise StartupError(f"{self.options.runtime} cannot be prepared: {error}") from error

    def _sweep(self) -> None:
        """Removes what a supervisor that was itself killed could not."""
        for process in shared_memory.users(self.options.region_prefix):
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        shared_memory.remove(self.options.region_prefix)

    def _failure(self, what: str) -> StartupError:
        return StartupError(f"{what}; the end of its log, {self.log}:\n{self.log_tail()}")


def _open_log(path: Path) -> IO[bytes]:
    """Opens a new log that only this user can read, and keeps the previous one."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def _exchange(process: subprocess.Popen[str], job: str) -> str:
    """Gives the supervisor its job and returns the server's process id, or nothing if there is no server."""
    if process.stdin is None or process.stdout is None:
        return ""
    with process.stdout, contextlib.suppress(BrokenPipeError):
        with process.stdin:
            process.stdin.write(job)
        return process.stdout.readline().strip()
    return ""


def hide_argument(pid: int | None, secret: str) -> None:
    """Overwrites a secret in the command line that other local users can read of a process.

    Triton takes its key from nowhere else. It copies the key before it writes its first line of log, so from then on
    the original is of no use to it; for the tenths of a second before, the key can be read in ``/proc``. Where the
    kernel forbids the write (a seccomp profile or ``ptrace_scope``), the key stays readable to local users.

    Args:
        pid: The process, a child or grandchild of this one.
        secret: What to overwrite.
    """
    with contextlib.suppress(OSError, ValueError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        start, end = int(stat[45]), int(stat[46])  # arg_start, arg_end: see proc(5)
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            arguments = memory.read(end - start)
            memory.seek(start)
            memory.write(arguments.replace(secret.encode(), b"x" * len(secret)))
