"""The gateway's only path to Triton: limited, with a deadline, and cut short when the server is known to be dead."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from veriphoto.errors import DeadlineExceededError, OverloadedError, ServiceError, VeriphotoError
from veriphoto.telemetry import tracing
from veriphoto_client import AsyncDetector, Detection
from veriphoto_client.sdk.together import together
from veriphoto_serving.gateway.health.watchdog import Watchdog
from veriphoto_serving.gateway.middleware.admission import Bound, Queue
from veriphoto_serving.triton.shared_memory import shared_memory_hint

_LOG: Final = logging.getLogger(__name__)
_COPIES: Final = 2
"""Copies of a file on its way to Triton besides the upload: our message and gRPC's buffer."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer and how long it took."""

    detection: Detection
    milliseconds: float


class Scorer:
    """Scores pictures for the routes."""

    def __init__(
        self,
        detector: AsyncDetector,
        watchdog: Watchdog,
        *,
        places: Bound,
        deadline: float,
        batch_places: int,
        transit: int,
    ) -> None:
        """Sets the limits.

        Args:
            detector: Client of Triton, shared by all requests.
            watchdog: Knows whether Triton is alive, and is told about failures.
            places: Limits the pictures at Triton.
            deadline: Seconds for one picture.
            batch_places: Pictures of one batch at Triton at a time.
            transit: Bytes that copies on their way to Triton may use.
        """
        self.places = places
        self._detector = detector
        self._watchdog = watchdog
        self._deadline = deadline
        self._batch_places = batch_places
        self._transit = Queue(transit)
        self._waiting: set[asyncio.Timeout] = set()
        watchdog.on_down(self._give_up)

    async def admit(self) -> None:
        """Refuses what could not be scored anyway, before its body is read.

        Raises:
            ServiceUnavailableError: If Triton is away.
            BusyError: If all places are taken and none is given back in a moment.
        """
        self._watchdog.require()
        await self.places.room()

    async def score(self, data: bytes, request_id: str) -> Scored:
        """Scores one picture.

        Args:
            data: The bytes of an encoded file.
            request_id: Under which the prediction log notes the answer.

        Returns:
            The answer.

        Raises:
            ImageError: The picture cannot be scored.
            ServiceError: Triton did not answer, or not in time.
            BusyError: If all places are taken.
        """
        self._watchdog.require()
        with self.places.take():
            return await self._score(data, request_id)

    async def score_together(self, pictures: Mapping[str, bytes]) -> list[Scored | VeriphotoError]:
        """Scores several pictures, some at a time.

        Args:
            pictures: The bytes of encoded files by request id.

        Returns:
            For each, in order, its answer or what ``score`` would have raised.

        Raises:
            ServiceUnavailableError: If Triton is away.
            BusyError: If too few places are free.
        """
        self._watchdog.require()
        if not pictures:
            return []
        width = min(len(pictures), self._batch_places, self.places.places)
        turns = asyncio.Semaphore(width)

        async def one(request_id: str, data: bytes) -> Scored | VeriphotoError:
            async with turns:
                try:
                    return await self._score(data, request_id)
                except VeriphotoError as error:
                    return error

        with self.places.take(width):
            return await together(one(*each) for each in pictures.items())

    async def _score(self, data: bytes, request_id: str) -> Scored:
        self._watchdog.require()  # a batch may begin alive and go on dead
        started = time.perf_counter()
        detection = await self._ask(data, request_id)
        return Scored(detection, 1000.0 * (time.perf_counter() - started))

    async def _ask(self, data: bytes, request_id: str) -> Detection:
        try:
            async with asyncio.timeout(self._deadline) as scope:
                self._waiting.add(scope)
                try:
                    async with self._transit.hold(_COPIES * len(data)):
                        with tracing.client_span("score photo"):
                            detection = await self._detector.predict(data, request_id=request_id)
                finally:
                    self._waiting.discard(scope)
        except TimeoutError as error:
            self._watchdog.require()
            raise DeadlineExceededError(f"no answer within {self._deadline:g} s") from error
        except ServiceError as error:
            if not isinstance(error, OverloadedError):
                _LOG.error("Triton answers no picture: %s%s", error.message, shared_memory_hint(), exc_info=error)
            self._watchdog.suspect(error)
            raise
        self._watchdog.proof()
        return detection

    def _give_up(self) -> None:
        """Ends what waits for a dead server now, instead of letting it find out by itself a second later."""
        now = asyncio.get_running_loop().time()
        for scope in self._waiting:
            if not scope.expired():
                scope.reschedule(now)
