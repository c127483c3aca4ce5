"""Checks for everything that would keep the server from starting, and says how to fix it.

All problems are reported together: a machine seldom has one only.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from veriphoto.errors import StartupError, install_command
from veriphoto.second_opinion import Mode
from veriphoto_serving.triton import repository, shared_memory
from veriphoto_serving.triton.installation import (
    STUB,
    Installation,
    child_environment,
    find_libpython,
    libpython_name,
    python_version,
)
from veriphoto_serving.triton.launcher import STACK_BYTES
from veriphoto_serving.triton.options import Flavour, TritonOptions
from veriphoto_serving.triton.ports import LOOPBACK, obstacle

_MEGA: Final = 1_000_000
_SHM_NEEDED: Final = 32 * _MEGA
_SHM_WANTED: Final = 256 * _MEGA
_DISK_NEEDED: Final = 50 * _MEGA

# Asked of the first python3 on the server's PATH, because the stub takes its packages from there.
_PROBE: Final = """
import importlib.util, json, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
numpy = "" if "numpy" in missing else __import__("numpy").__version__
print(json.dumps({"version": "%d.%d" % sys.version_info[:2], "missing": missing, "numpy": numpy, "prefix": sys.prefix}))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of this machine."""

    check: str
    """Which check found it: ``libpython``, ``stub``, ``packages``, ``numpy``, ``stack``, ``ports``, ..."""
    message: str
    """What is wrong and how to fix it."""
    fatal: bool = True
    """Whether the server cannot run with it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where something that is served beside Triton listens."""

    option: str
    """The option that chooses its port."""
    port: int
    """0 for any."""
    host: str = LOOPBACK
    without: str = ""
    """What is missing without it; empty if the rest is not served either."""


def run(options: TritonOptions, installation: Installation, listeners: Sequence[Listener] = ()) -> list[Finding]:
    """Checks this machine.

    Args:
        options: How the server will be started, resolved for ``installation``.
        installation: The server that will run.
        listeners: What else will listen.

    Returns:
        What was found, fatal or not. Shared memory of dead servers has been removed on the way.
    """
    return list(_Checks(options, installation, listeners).all())


def require(findings: Sequence[Finding]) -> None:
    """Raises an error if the server cannot run.

    Args:
        findings: What ``run`` returned.

    Raises:
        StartupError: If one of them is fatal; it names them all.
    """
    fatal = [finding for finding in findings if finding.fatal]
    if fatal:
        lines = "".join(f"\n  {finding.check}: {finding.message}" for finding in fatal)
        raise StartupError(f"the server cannot run on this machine as it is:{lines}")


@dataclass
class _Checks:
    options: TritonOptions
    installation: Installation
    listeners: Sequence[Listener]

    def all(self) -> Iterator[Finding]:
        if self.installation.wheel is not None:
            yield from self._libpython()
            yield from self._stub()
        yield from self._packages()
        yield from self._flavour()
        yield from self._stack()
        yield from self._ports()
        yield from self._shared_memory()
        yield from self._directory()
        yield from self._models()
        yield from self._second_opinion()
        yield from self._prediction_log()

    def _libpython(self) -> Iterator[Finding]:
        if find_libpython() is None:
            yield Finding(
                "libpython",
                f"{libpython_name()} is not found, and Triton's Python backend cannot run without it; install it "
                f"(Debian, Ubuntu: apt install libpython{python_version()}) or use a Python built with --enable-shared",
            )

    def _stub(self) -> Iterator[Finding]:
        stub = self.installation.python_backend[STUB]
        if not stub.is_file():
            have = ", ".join(sorted(path.name for path in stub.parent.parent.glob("*")))
            yield Finding(
                "stub", f"there is no Python backend for Python {python_version()}, only for {have}; use one of these"
            )

    def _packages(self) -> Iterator[Finding]:
        seen = self._seen_by_stub
        if "error" in seen:
            yield Finding("packages", f"the first python3 of the server's PATH does not run: {seen['error']}")
            return
        if seen["missing"]:
            yield Finding(
                "packages",
                f"{', '.join(seen['missing'])} is not installed in {seen['prefix']}, where the models look for it; "
                f"in the project's folder run: {install_command('serving')}",
            )
        if self.installation.wheel is None:
            return
        if seen["version"] != python_version():
            yield Finding(
                "packages",
                f"python3 in {seen['prefix']} is Python {seen['version']}, but {python_version()} runs this; use a "
                "virtual environment of one Python",
            )
        if seen["numpy"].partition(".")[0] not in ("", "1"):
            yield Finding(
                "numpy",
                f"the models would see numpy {seen['numpy']} in {seen['prefix']}, with which this server returns empty "
                "arrays; install an older one with: .venv/bin/pip install 'numpy<2'",
            )

    @cached_property
    def _seen_by_stub(self) -> dict[str, Any]:
        environment = child_environment(self.installation)
        python = shutil.which("python3", path=environment.get("PATH"))
        if python is None:
            return {"error": "there is none"}
        needed = ["numpy", "PIL", "veriphoto"] + ["onnxruntime"] * (self.options.flavour is Flavour.EMBEDDED)
        command = [python, "-I", "-c", _PROBE, *needed]
        probe = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if probe.returncode:
            return {"error": f"{python}: {probe.stderr.strip().rpartition(chr(10))[2] or probe.returncode}"}
        answer: dict[str, Any] = json.loads(probe.stdout)
        return answer

    def _flavour(self) -> Iterator[Finding]:
        flavour = self.options.flavour
        if self.installation.wheel is not None and flavour not in (None, Flavour.EMBEDDED):
            yield Finding(
                "flavour",
                f"the server of nvidia-pytriton has no backend for {flavour.value}; use --flavour embedded, or a "
                "tritonserver on PATH that has one",
            )

    def _stack(self) -> Iterator[Finding]:
        hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
        if hard not in (resource.RLIM_INFINITY, -1) and hard < STACK_BYTES:
            yield Finding(
                "stack",
                f"the stack may not grow over {hard // 1024} kB, and the server needs {STACK_BYTES // 1024}; raise the "
                f"hard limit (ulimit -Hs unlimited; docker run --ulimit stack={STACK_BYTES})",
            )

    def _ports(self) -> Iterator[Finding]:
        names = ("--http-port", "--grpc-port", "--metrics-port")
        listeners = [*map(Listener, names, self.options.ports), *self.listeners]
        for port in sorted({listener.port for listener in listeners} - {0}):
            same = [listener.option for listener in listeners if listener.port == port]
            if len(same) > 1:
                yield Finding("ports", f"{' and '.join(same)} must differ, and are both {port}")
        for listener in listeners:
            if found := obstacle(listener.port, listener.host):
                lost = f"; {listener.without}" if listener.without else ""
                message = f"{found}; stop that or choose another with {listener.option}{lost}"
                yield Finding("ports", message, fatal=not lost)

    def _shared_memory(self) -> Iterator[Finding]:
        removed = shared_memory.remove_stale(shared_memory.DIRECTORY)
        if removed:
            names = ", ".join(region.name for region in removed)
            yield Finding(
                "shared memory", f"removed what dead servers left in {shared_memory.DIRECTORY}: {names}", fatal=False
            )
        free = shutil.disk_usage(shared_memory.DIRECTORY).free if shared_memory.DIRECTORY.is_dir() else 0
        if free < _SHM_WANTED:
            yield Finding(
                "shared memory",
                f"{shared_memory.DIRECTORY} has {free // _MEGA} MB free; {_SHM_WANTED // _MEGA} let large pictures "
                "queue (docker run --shm-size=1g; mount -o remount,size=1g /dev/shm)",
                fatal=free < _SHM_NEEDED,
            )

    def _directory(self) -> Iterator[Finding]:
        runtime = self.options.runtime
        try:
            _try_writing(runtime)
        except OSError as error:
            yield Finding("directory", f"{runtime} cannot be written to: {error.strerror}; choose another with --var")
            return
        free = shutil.disk_usage(runtime).free
        if free < _DISK_NEEDED:
            yield Finding("directory", f"the disk of {runtime} has {free // _MEGA} MB free; make room, or use --var")

    def _prediction_log(self) -> Iterator[Finding]:
        log = self.options.predictions
        try:
            if log is not None:
                _try_writing(log)
        except OSError as error:
            yield Finding(
                "prediction log",
                f"{log} cannot be written to: {error.strerror}; answers will not be logged, and drift not be seen. "
                "Choose another with --prediction-log",
                fatal=False,
            )

    def _models(self) -> Iterator[Finding]:
        flavour = self.options.flavour or Flavour.ONNXRUNTIME
        for problem in repository.problems(Path(self.options.model_repository), flavour):
            yield Finding("models", problem)

    def _second_opinion(self) -> Iterator[Finding]:
        models, mode = Path(self.options.model_repository), self.options.second_opinion
        if mode is Mode.OFF:
            return
        if problem := repository.encoder_problem(models, mode):
            yield Finding("second opinion", f"nobody is asked: {problem}", fatal=mode is Mode.ALWAYS)
        for problem in repository.opinion_problems(models):
            yield Finding("second opinion", f"nobody is asked: {problem}", fatal=False)


def _try_writing(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass
