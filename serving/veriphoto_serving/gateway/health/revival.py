"""Restarts a Triton that this process has started."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Collection
from http.client import HTTPConnection, HTTPException
from typing import Final

from veriphoto_client.triton.admin import TritonAdmin
from veriphoto_serving.gateway.health.workers import Snapshot, survey
from veriphoto_serving.triton.launcher import TritonServer

_BRIEF_S: Final = 1.0
_GRACE_S: Final = 10.0
"""Seconds for replaced processes to finish their requests."""
_ANSWERED: Final = "nv_inference_request_success{"


class LocalReviver:
    """Implements ``Reviver`` by means of the launcher."""

    def __init__(self, server: TritonServer) -> None:
        """Takes the server to restart."""
        self._server = server

    def restart(self) -> None:
        """See ``Reviver.restart``. The old server is killed, because a hung one would use up its whole grace period."""
        if self._server.pid is not None and self._server.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()
        self._server.launch()

    def snapshot(self) -> Snapshot:
        """See ``Reviver.snapshot``; reads Triton's metrics and the process table."""
        return Snapshot(self._answered(), survey(self._server.pid) if self._server.pid else {})

    def replace(self, model: str) -> None:
        """See ``Reviver.replace``.

        Triton never replaces a process of a Python model, but reloading the model does: the new processes are ready
        before the old ones stop receiving requests. Triton reloads only if the configuration differs, so it gets a
        parameter that nobody reads. A request lost in a dead process keeps the old instances alive for as long as the
        server runs, so their processes are ended here.

        Raises:
            VeriphotoError: If Triton does not answer, or does not load the model.
            RuntimeError: If it starts no new process for it.
        """
        before = self.snapshot()
        old = {process: worker for process, worker in before.workers.items() if worker.model == model}
        patience = self._server.options.start_timeout_s  # a busy machine may need it for one model as well as for all
        admin = TritonAdmin(address=self._server.http_url, key=self._server.admin_key, timeout=patience)
        config = admin.config(model)
        config.setdefault("parameters", {})["replaced"] = {"string_value": str(time.time())}
        admin.load(model, config, timeout=patience)
        now = self.snapshot()
        if not {process for process, worker in now.workers.items() if worker.model == model} - old.keys():
            raise RuntimeError("no new process has appeared")
        stuck = {process for process in old if process in now.workers and now.workers[process].stopped}
        self._end(stuck)
        ending = threading.Timer(_GRACE_S, self._end, [old.keys() - stuck])
        ending.daemon = True
        ending.start()

    def _end(self, processes: Collection[int]) -> None:
        """Kills those processes that still belong to this server."""
        if self._server.pid is None:
            return
        for process in survey(self._server.pid).keys() & set(processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _answered(self) -> int | None:
        try:
            with contextlib.closing(HTTPConnection(self._server.metrics_url, timeout=_BRIEF_S)) as connection:
                connection.request("GET", "/metrics")
                lines = connection.getresponse().read().decode().splitlines()
            return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(_ANSWERED))
        except (OSError, HTTPException, ValueError):
            return None
