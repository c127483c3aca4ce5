"""A transport without a server, for testing code that uses a detector."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from veriphoto.contract import CONTRACT, EVIDENCE, LOGIT, OPERATING_POINT, OPINIONS, PROBABILITY, STATISTICS
from veriphoto.preprocessing import preprocess
from veriphoto.second_opinion import UNKNOWN_SHARE
from veriphoto.verdict import OperatingPoint
from veriphoto_client.triton.transport import Outputs

FAKE_POINT = OperatingPoint(
    model_version=1, threshold=0.5, unsure_low=0.4, unsure_high=0.6, min_side=32.0, max_blockiness=100.0
)


class FakeTransport:
    """Implements ``Transport`` without a server.

    By default, photos go through Veriphoto's real preprocessing, so that broken ones are refused as a server would
    refuse them. The score is made up from the mean brightness: dark is real, bright is AI-generated.
    """

    def __init__(self, handler: Callable[[bytes], Outputs] | None = None, *, delay: float = 0.0) -> None:
        """Chooses the answers.

        Args:
            handler: Returns the answer to a file's bytes, or raises a ``VeriphotoError`` as a server would cause; by
                default ``FakeTransport.answer``.
            delay: Seconds that every request takes.
        """
        self._handler = handler or self.answer
        self._delay = delay
        self._in_flight = 0
        self.requests = 0
        """Number of requests so far, including refused ones."""
        self.request_ids: list[str] = []
        """The ids of the requests."""
        self.most_in_flight = 0
        """Largest number of requests at a time."""
        self.closed = False

    @staticmethod
    def answer(data: bytes) -> Outputs:
        """Returns the answer to a file, or raises its ``ImageError``."""
        statistics = preprocess(data).statistics
        brightness = float(statistics[CONTRACT.statistics.index("brightness")])
        logit = (brightness - 127.5) / 25.0
        values = {
            PROBABILITY: [1.0 / (1.0 + np.exp(-logit))],
            LOGIT: [logit],
            EVIDENCE: np.full((CONTRACT.crops, CONTRACT.grid, CONTRACT.grid), logit),
            STATISTICS: statistics,
            OPERATING_POINT: FAKE_POINT.to_tensor(),
            OPINIONS: [0.0, logit, FAKE_POINT.threshold, 0.0, UNKNOWN_SHARE],
        }
        return {name: np.asarray(value, dtype=np.float32)[np.newaxis] for name, value in values.items()}

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        """See ``Transport.score``."""
        self.requests += 1
        self.request_ids.append(request_id)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await asyncio.sleep(self._delay)
            return self._handler(data)
        finally:
            self._in_flight -= 1

    async def close(self) -> None:
        """See ``Transport.close``."""
        self.closed = True
