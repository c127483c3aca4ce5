"""LitServe: one worker process a core, as its documentation recommends for CPUs; no batching, which gains nothing.

python lit_serve.py PORT
"""

from __future__ import annotations

import os
import sys
from typing import Any

import litserve
from fastapi import Request
from scorer import Scorer


class Detector(litserve.LitAPI):
    """The hooks."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Opens the session in the worker."""
        self._score = Scorer()

    def decode_request(self, request: Request) -> bytes:
        """Takes the picture out of the form."""
        file: Any = request["file"]  # type: ignore[index]
        return bytes(file.file.read())

    def predict(self, data: bytes) -> float:
        """Scores it."""
        return self._score(data)

    def encode_response(self, probability: float) -> dict[str, float]:
        """Wraps the answer."""
        return {"probability": probability}


if __name__ == "__main__":
    cores = os.cpu_count() or 1
    server = litserve.LitServer(Detector(), accelerator="cpu", devices=1, workers_per_device=cores, timeout=60)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, log_level="warning", generate_client_file=False
    )
