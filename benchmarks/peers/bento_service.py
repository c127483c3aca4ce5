"""BentoML: one worker a core.

bentoml serve bento_service:Detector --port PORT --host 127.0.0.1
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
from scorer import Scorer


@bentoml.service(workers=os.cpu_count() or 1, traffic={"timeout": 60})
class Detector:
    """The service."""

    def __init__(self) -> None:
        self._score = Scorer()

    @bentoml.api
    def predict(self, file: Path) -> dict[str, float]:
        """Scores an uploaded file."""
        return {"probability": self._score(file.read_bytes())}
