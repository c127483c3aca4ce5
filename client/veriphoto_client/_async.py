"""The asynchronous detector: all there is to the SDK's behaviour. The synchronous one only waits for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType

from veriphoto.errors import UsageError, VeriphotoError
from veriphoto_client._detection import Detection, Health
from veriphoto_client._images import ImageInput, check_type, load
from veriphoto_client._retry import patiently
from veriphoto_client._services import Door, TensorService, connect
from veriphoto_client._transports import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, DEFAULT_URL, Transport


class AsyncDetector:
    """Asks a Veriphoto server about pictures. Belongs to one event loop; as many tasks of it as you like may share it.

    Example:
        >>> async with AsyncDetector("http://127.0.0.1:8080", api_key=key) as detector:
        ...     detection = await detector.predict("photo.jpg")
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        door: str = Door.AUTO,
        timeout: float = DEFAULT_TIMEOUT,
        max_in_flight: int = DEFAULT_IN_FLIGHT,
        patience: float | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Prepares; connects at the first request.

        Args:
            url: Where Veriphoto's gateway or a Triton server with its models is: ``http://host:port``, ``https://host``
                or ``grpc://host:port``. By default the variable ``VERIPHOTO_URL``, else Triton on this machine.
            api_key: The gateway's; by default the variable ``VERIPHOTO_API_KEY``. Triton is never shown it.
            door: ``gateway`` or ``triton``; ``auto`` finds out at the first request (``GET /healthz``, once).
            timeout: Seconds one request may take on the wire and in the server; waiting for a turn does not count.
            max_in_flight: Most requests at a time; further ones wait for a turn, and their files are not read yet.
            patience: Seconds for which to ask again where the server is busy or away, not before its ``Retry-After``
                is over. None is 10 for the gateway and 0 for Triton.
            transport: Used instead of connecting to ``url``.

        Raises:
            UsageError: If the URL or a number makes no sense.
            MissingExtraError: If the packages of the extra ``client`` are not installed.
        """
        if timeout <= 0 or max_in_flight < 1 or (patience or 0) < 0:
            raise UsageError(
                "a detector needs a timeout over 0, at least 1 request in flight, and patience of 0 or more"
            )
        if door not in tuple(Door):
            raise UsageError(f"there is no door {door!r}; choose one of {', '.join(Door)}")
        self.url = (os.environ.get("VERIPHOTO_URL") or DEFAULT_URL) if url is None else url
        self._patience = patience
        self._service = (
            TensorService(transport)
            if transport
            else connect(
                self.url,
                api_key=api_key or os.environ.get("VERIPHOTO_API_KEY"),
                door=Door(door),
                timeout=timeout,
                in_flight=max_in_flight,
            )
        )
        self._turns = asyncio.Semaphore(max_in_flight)

    async def predict(self, image: ImageInput, *, request_id: str = "") -> Detection:
        """Scores one picture.

        Args:
            image: The bytes of a JPEG, PNG, WebP, HEIC or AVIF file, a path to one, or a PIL image.
            request_id: A UUID or another generated id; the server's prediction log notes the answer under it, so that
                it can be found there. What could be a file name is not kept.

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
            return await patiently(lambda: self._service.detect(data, request_id), self._allowed)

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
        """Finds out whether pictures are scored: a server may call itself ready while its models are dead.

        Triton is sent a small test picture; the gateway tells of the one that it has had scored within the last
        seconds. Neither counts as traffic. It is asked once, whatever the patience.

        Returns:
            What answered.

        Raises:
            ServiceError: If it is not healthy; the leaf says why.
        """
        async with self._turns:
            return replace(await self._service.health(), url=self.url)

    async def close(self) -> None:
        """Closes connections."""
        await self._service.close()

    async def __aenter__(self) -> AsyncDetector:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _allowed(self) -> float:
        return self._service.patience if self._patience is None else self._patience

    async def _attempt(self, image: ImageInput) -> Detection | VeriphotoError:
        try:
            return await self.predict(image)
        except VeriphotoError as error:
            return error
