"""Brings back a Triton that this process has started."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
from typing import Final

from veriphoto_serving.triton.launcher import TritonServer

_BRIEF_S: Final = 1.0
_ANSWERED: Final = "nv_inference_request_success{"


class LocalReviver:
    """Implements ``Reviver`` through the launcher."""

    def __init__(self, server: TritonServer) -> None:
        """Takes the server to bring back."""
        self._server = server

    def restart(self) -> None:
        """See ``Reviver.restart``. The old server is killed: one that hangs would take its whole grace to end."""
        if self._server.pid is not None and self._server.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()
        self._server.launch()

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
