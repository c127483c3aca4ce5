"""Brings back a Triton that this process has started."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
from typing import Final

from veriphoto.contract import CLASSIFIER, PREPROCESS
from veriphoto.errors import ModelError, ServiceUnavailableError
from veriphoto.manifest import latest_version
from veriphoto_serving.launcher import TritonServer
from veriphoto_serving.options import ADMIN_HEADER
from veriphoto_serving.ports import LOOPBACK

_CODE: Final = "model.py"
_PATIENCE_S: Final = 4.0
_BRIEF_S: Final = 1.0
_ANSWERED: Final = "nv_inference_request_success{"


class LocalReviver:
    """Implements ``Reviver`` through the launcher."""

    def __init__(self, server: TritonServer) -> None:
        """Takes the server to bring back."""
        self._server = server

    def reload(self) -> None:
        """See ``Reviver.reload``. Loads only what runs as Python: nothing else has a process that could die.

        Raises:
            ServiceUnavailableError: If the server does not do it.
        """
        if not self._server.is_alive():
            raise ServiceUnavailableError("the server has ended")
        for model in (PREPROCESS, CLASSIFIER):
            try:
                code = latest_version(self._server.options.model_repository / model) / _CODE
                # Triton loads nothing whose files have not changed, not even a model whose process is dead.
                os.utime(code)
            except (ModelError, OSError) as error:
                raise ServiceUnavailableError(f"{model} cannot be marked as changed: {error}") from error
            self._load(model)

    def restart(self) -> None:
        """See ``Reviver.restart``. The old server is killed: one that hangs would take its whole grace to end."""
        if self._server.pid is not None and self._server.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()
        self._server.start()
        self._server.wait_ready()

    def progress(self) -> int | None:
        """See ``Reviver.progress``: read from Triton's own metrics."""
        host, _, port = self._server.metrics_url.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_BRIEF_S)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
            return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(_ANSWERED))
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def _load(self, model: str) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, self._server.options.http_port, timeout=_PATIENCE_S)
        try:
            connection.request(
                "POST",
                f"/v2/repository/models/{model}/load",
                body="{}",
                headers={ADMIN_HEADER: self._server.admin_key, "Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise ServiceUnavailableError(f"{model} was not loaded: status {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnavailableError(f"{model} was not loaded: {error}") from error
        finally:
            connection.close()
