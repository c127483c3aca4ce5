"""Restarts a Triton that this process has started."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Collection
from typing import Any, Final

from veriphoto.shared_names import ADMIN_HEADER
from veriphoto_serving.gateway.health.workers import Snapshot, survey
from veriphoto_serving.triton.launcher import TritonServer

_BRIEF_S: Final = 1.0
_LOAD_S: Final = 30.0
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
            OSError: If Triton does not answer.
            RuntimeError: If Triton does not load the model.
        """
        before = self.snapshot()
        old = {process: worker for process, worker in before.workers.items() if worker.model == model}
        config = self._admin("GET", f"/v2/models/{model}/config")
        config.setdefault("parameters", {})["replaced"] = {"string_value": str(time.time())}
        self._admin("POST", f"/v2/repository/models/{model}/load", {"parameters": {"config": json.dumps(config)}})
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

    def _admin(self, method: str, path: str, body: Any = None) -> Any:
        text = self._ask(self._server.http_url, method, path, json.dumps(body) if body else None, _LOAD_S)
        return json.loads(text) if text else None

    def _answered(self) -> int | None:
        try:
            lines = self._ask(self._server.metrics_url, "GET", "/metrics", None, _BRIEF_S).splitlines()
            return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(_ANSWERED))
        except (OSError, http.client.HTTPException, ValueError, RuntimeError):
            return None

    def _ask(self, address: str, method: str, path: str, body: str | None, patience: float) -> str:
        host, _, port = address.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=patience)
        try:
            headers = {ADMIN_HEADER: self._server.admin_key, "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != http.client.OK:
                raise RuntimeError(f"{path} answers {answer.status}")
            return text
        finally:
            connection.close()
