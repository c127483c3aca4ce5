"""LitServe: one worker process a core, as its documentation recommends for CPUs; no batching, which gains nothing.

python lit_serve.py PORT
"""

import base64
import os
import sys

import litserve
from scorer import Scorer


class Detector(litserve.LitAPI):
    """The hooks."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Opens the session in the worker."""
        self._score = Scorer()

    def decode_request(self, request) -> bytes:  # LitServe reads annotations; without one it gives the JSON
        """Takes the picture out of the JSON, as LitServe's own guide to speed sends it."""
        return base64.b64decode(request["image_data"])

    def predict(self, data: bytes) -> float:
        """Scores it."""
        return self._score(data)

    def encode_response(self, probability: float):
        """Wraps the answer."""
        return {"probability": probability}


if __name__ == "__main__":
    cores = os.cpu_count() or 1
    server = litserve.LitServer(
        Detector(), accelerator="cpu", devices=1, workers_per_device=cores, timeout=60, fast_queue=True
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, log_level="warning", generate_client_file=False
    )
