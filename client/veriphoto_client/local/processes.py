"""Scores photos on this machine without a server, with one process and one session per core.

Processes rather than threads: a photo that crashes its decoder ends one process and no other photo is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from veriphoto.contract import CLASSIFIER
from veriphoto.environment import without_secrets
from veriphoto.errors import (
    CorruptImageError,
    MissingExtraError,
    ServiceUnavailableError,
    TooCostlyError,
    UsageError,
    from_wire,
)
from veriphoto.second_opinion import Mode
from veriphoto.sessions import PROCESS_ENVIRONMENT
from veriphoto.variants import AUTO
from veriphoto_client.local.model import chosen
from veriphoto_client.local.worker import HEAD, LENGTH, PATHS
from veriphoto_client.triton.transport import Outputs

_TRIES: Final = 2
"""Number of processes that a photo may crash before its row holds an error."""
_END_S: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalModel:
    """A model version and how to run it."""

    directory: Path
    """Directory of the version."""
    version: int
    variant: str
    mode: Mode

    @classmethod
    def find(
        cls, repository: Path, model: Path | None = None, variant: str = AUTO, mode: Mode = Mode.AUTO
    ) -> LocalModel:
        """Finds the version to run and checks that it can be.

        Args:
            repository: The directory that holds the models; its newest classifier version is used.
            model: The classifier's directory or one of its versions, to use instead.
            variant: Variant to run; ``AUTO`` chooses as a server on this machine would.
            mode: When to ask the second opinion.

        Raises:
            UsageError: If there is no such directory.
            ModelError: If the version must not be used.
            MissingExtraError: If the package that runs it is not installed.
        """
        where = model or repository / CLASSIFIER
        if not where.is_dir():
            raise UsageError(
                f"there is no model repository at {repository}; name it with --model-repository, or start a server "
                "with: veriphoto serve"
                if model is None
                else f"there is no {where}; give the classifier's directory or one of its versions"
            )
        directory, manifest, setup = chosen(where.resolve(), variant)
        extra, runtime = ("openvino", "openvino") if setup.precision else ("local", "onnxruntime")
        if importlib.util.find_spec(runtime) is None:
            raise MissingExtraError(extra, runtime)
        return cls(directory=directory, version=manifest.model_version, variant=variant, mode=mode)


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalTransport:
    """Implements ``FileTransport`` with processes on this machine, which start when they are first needed."""

    def __init__(self, model: LocalModel, *, workers: int, timeout: float) -> None:
        """Starts nothing yet.

        Args:
            model: The version to run.
            workers: Number of processes; each uses one core.
            timeout: Seconds for one photo; a process that takes longer is killed.
        """
        self._timeout = timeout
        self._workers = [_Worker(model) for _ in range(workers)]
        # Last in, first out: if photos come one at a time, one process is enough and the others never start.
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for worker in self._workers:
            self._idle.put_nowait(worker)

    async def score(self, data: bytes, request_id: str = "") -> Outputs:  # noqa: ARG002  nothing is logged here
        """See ``Transport.score``."""
        return await self._ask(data, is_path=False)

    async def score_file(self, path: str) -> Outputs:
        """See ``FileTransport.score_file``."""
        return await self._ask(path.encode(*PATHS), is_path=True)

    async def _ask(self, photo: bytes, *, is_path: bool) -> Outputs:
        worker = await self._idle.get()
        try:
            for _ in range(_TRIES):
                answer = await worker.ask(photo, self._timeout, is_path=is_path)
                if answer is not None:
                    return _outputs(answer)
        finally:
            self._idle.put_nowait(worker)
        raise CorruptImageError("the picture ended each process that scored it; look at it with care")

    async def close(self) -> None:
        """See ``Transport.close``."""
        await asyncio.gather(*(worker.close() for worker in self._workers))


class _Worker:
    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None

    async def ask(self, photo: bytes, timeout: float, *, is_path: bool) -> dict[str, Any] | None:
        """Returns the answer about a photo, given by its path or its bytes, or None if the process died of it."""
        try:
            process = self._process or await self._start()
            async with asyncio.timeout(timeout):
                answer = await _exchange(process, HEAD.pack(is_path, len(photo)) + photo)
        except TimeoutError:
            await self.kill()
            raise TooCostlyError(f"the picture was not scored within {timeout:g} s; send a smaller copy") from None
        except BaseException:  # such as Ctrl-C: a late answer would be taken for the next photo's
            await self.kill()
            raise
        if answer is None:
            await self.kill()
        return answer

    async def close(self) -> None:
        """Ends the process after its last answer."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _END_S)
        await self.kill()

    async def kill(self) -> None:
        """Kills the process; the next photo starts a new one."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._ended, self._process = asyncio.create_task(self._process.wait()), None
        # Whoever is cancelled twice waits no longer, and close() does instead: an event loop that ends before the
        # process and its pipes prints a stack trace.
        if self._ended is not None:
            await asyncio.shield(self._ended)

    async def _start(self) -> asyncio.subprocess.Process:
        command = (sys.executable, "-P", "-m", "veriphoto_client.local.worker")
        self._process = process = await asyncio.create_subprocess_exec(
            *command,
            str(self._model.directory),
            self._model.variant,
            self._model.mode,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**PROCESS_ENVIRONMENT, **without_secrets(os.environ)},
            # In a group of its own, so that Ctrl-C reaches only the scan, which ends its processes itself.
            process_group=0,
        )
        ready = await _exchange(process)
        if ready is None or "error" in ready:
            said = ready["error"] if ready else "it ended while it loaded the model (memory?)"
            raise ServiceUnavailableError(f"the process that scores cannot start: {said}")
        return process


async def _exchange(process: asyncio.subprocess.Process, order: bytes = b"") -> dict[str, Any] | None:
    assert process.stdin is not None  # noqa: S101  both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(order)
        await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        answer: dict[str, Any] = json.loads(await process.stdout.readexactly(length))
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    return answer


def _outputs(answer: dict[str, Any]) -> Outputs:
    if "error" in answer:
        raise from_wire(answer["error"]) or CorruptImageError(answer["error"])
    return {name: np.asarray(values, np.float32) for name, values in answer["tensors"].items()}
