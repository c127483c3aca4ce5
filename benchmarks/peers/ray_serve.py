"""Ray Serve: one replica a core, each with a core reserved, and its switch for throughput on.

RAY_SERVE_THROUGHPUT_OPTIMIZED=1 python ray_serve.py PORT
"""

from __future__ import annotations

import os
import signal
import sys

import ray
from ray import serve
from scorer import Scorer
from starlette.requests import Request

CORES = os.cpu_count() or 1


@serve.deployment(num_replicas=CORES, max_ongoing_requests=8, ray_actor_options={"num_cpus": 1})
class Detector:
    """A replica."""

    def __init__(self) -> None:
        self._score = Scorer()

    async def __call__(self, request: Request) -> dict[str, float]:
        """Scores the body."""
        return {"probability": self._score(await request.body())}


if __name__ == "__main__":
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Detector.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
