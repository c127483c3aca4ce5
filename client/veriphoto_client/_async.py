"""The asynchronous detector: all there is to the SDK's behaviour. The synchronous one only waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Final

from veriphoto.errors import UsageError, VeriphotoError
from veriphoto.prediction_log.record import PROBE_PREFIX
from veriphoto_client._codec import canary, decode_answer
from veriphoto_client._detection import Detection, Health
from veriphoto_client._images import ImageInput, check_type, load
from veriphoto_client._transports import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, DEFAULT_URL, Transport, connect

HEALTH_ID: Final = f"{PROBE_PREFIX}health"
"""Names the test pictures of ``health`` in the prediction log: they are no traffic."""


class AsyncDetector:
    """Asks a Veriphoto server about pictures. Belongs to one event loop; as many tasks of it as you like may share it.

    Example:
        >>> async with AsyncDetector("grpc://127.0.0.1:8001") as detector:
        ...     detection = await detector.predict("photo.jpg")
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        max_in_flight: int = DEFAULT_IN_FLIGHT,
        transport: Transport | None = None,
    ) -> None:
        """Prepares; connects at the first request.

        Args:
            url: ``http://host:port`` or ``grpc://host:port`` of a Triton server with Veriphoto's models.
            timeout: Seconds one request may take on the wire and in the server; waiting for a turn does not count.
            max_in_flight: Most requests at a time; further ones wait for a turn, and their files are not read yet.
            transport: Used instead of connecting to ``url``.

        Raises:
            UsageError: If the URL or a number makes no sense.
            MissingExtraError: If tritonclient is not installed.
        """
        if timeout <= 0 or max_in_flight < 1:
            raise UsageError("a detector needs a timeout over 0 and at least 1 request in flight")
        self.url = url
        self._transport = transport or connect(url, timeout=timeout, in_flight=max_in_flight)
        self._turns = asyncio.Semaphore(max_in_flight)

    async def predict(self, image: ImageInput, *, request_id: str = "") -> Detection:
        """Scores one picture.

        Args:
            image: The bytes of a JPEG, PNG, WebP, HEIC or AVIF file, a path to one, or a PIL image.
            request_id: Under which the server's prediction log notes the answer, so that it can be found there: a UUID
                or another generated id. What could be a file name is not kept.

        Returns:
            The detection.

        Raises:
            ImageError: The picture cannot be scored; the leaf says why.
            ServiceError: The service did not do its part; the leaf says why.
            TypeError: If ``image`` is something else.
        """
        async with self._turns:
            # Reading and encoding block, so they leave the loop; a buffer at hand is not worth the hop.
            data = load(image) if isinstance(image, bytes) else await asyncio.to_thread(load, image)
            return decode_answer(await self._transport.score(data, request_id))

    async def predict_batch(self, images: Iterable[ImageInput]) -> list[Detection | VeriphotoError]:
        """Scores pictures together, several in flight.

        Args:
            images: As for ``predict``.

        Returns:
            For each picture, in order, its detection, or the error that ``predict`` would have raised: one bad
            picture costs nothing but its own place.

        Raises:
            TypeError: If one of ``images`` is no picture at all.
        """
        wanted = list(images)
        for image in wanted:
            check_type(image)
        return await asyncio.gather(*(self._attempt(image) for image in wanted))

    async def health(self) -> Health:
        """Has the server score a small test picture: a server may call itself ready while its models are dead.

        Returns:
            What answered.

        Raises:
            ServiceError: If it is not healthy; the leaf says why.
        """
        started = time.perf_counter()
        verdict = (await self.predict(canary(), request_id=HEALTH_ID)).verdict
        return Health(
            url=self.url,
            model_version=verdict.model_version,
            threshold=verdict.threshold,
            latency_ms=1000.0 * (time.perf_counter() - started),
        )

    async def close(self) -> None:
        """Closes connections."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncDetector:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _attempt(self, image: ImageInput) -> Detection | VeriphotoError:
        try:
            return await self.predict(image)
        except VeriphotoError as error:
            return error
