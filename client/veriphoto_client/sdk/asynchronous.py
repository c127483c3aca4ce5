"""The asynchronous detector, which holds all of the SDK's behaviour. The synchronous one only waits for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from types import TracebackType

from veriphoto.errors import UsageError, VeriphotoError
from veriphoto.verdict import Prediction
from veriphoto_client.sdk.answers import decode_answer
from veriphoto_client.sdk.detection import Detection, FeedbackStatus, Health
from veriphoto_client.sdk.images import ImageInput, check_type, load
from veriphoto_client.sdk.retry import patiently
from veriphoto_client.sdk.services import ServiceKind, TensorService, connect
from veriphoto_client.sdk.together import together
from veriphoto_client.triton.transport import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, DEFAULT_URL, FileTransport, Transport


class AsyncDetector:
    """Scores photos on a Veriphoto server. Belongs to one event loop; any number of its tasks may share it.

    Example:
        >>> async with AsyncDetector("http://127.0.0.1:8080", api_key=key) as detector:
        ...     detection = await detector.predict("photo.jpg")
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        service: str = ServiceKind.AUTO,
        timeout: float = DEFAULT_TIMEOUT,
        max_in_flight: int = DEFAULT_IN_FLIGHT,
        patience: float | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Prepares the detector, which connects at its first request.

        Args:
            url: Address of Veriphoto's gateway or of a Triton server with its models: ``http://host:port``,
                ``https://host`` or ``grpc://host:port``. By default the variable ``VERIPHOTO_URL``, else Triton on this
                machine.
            api_key: Key for the gateway; by default the variable ``VERIPHOTO_API_KEY``. It is never sent to Triton.
            service: What the URL leads to, ``gateway`` or ``triton``; ``auto`` finds out at the first request
                (``GET /healthz``, once).
            timeout: Seconds that one request may take, not counting the wait for a free slot.
            max_in_flight: Maximum number of requests at a time. Further ones wait, and their files are not read yet.
            patience: Seconds for which to retry if the server is busy or away, never before its ``Retry-After`` has
                passed. None means 10 for the gateway and 0 for Triton.
            transport: Transport to use instead of connecting to ``url``.

        Raises:
            UsageError: If the URL or a number is invalid.
            MissingExtraError: If the packages of the extra ``client`` are not installed.
        """
        if timeout <= 0 or max_in_flight < 1 or (patience or 0) < 0:
            raise UsageError(
                "a detector needs a timeout over 0, at least 1 request in flight, and patience of 0 or more"
            )
        if service not in tuple(ServiceKind):
            raise UsageError(f"there is no service {service!r}; choose one of {', '.join(ServiceKind)}")
        self.url = (os.environ.get("VERIPHOTO_URL") or DEFAULT_URL) if url is None else url
        self._patience = patience
        self._service = (
            TensorService(transport)
            if transport
            else connect(
                self.url,
                api_key=api_key or os.environ.get("VERIPHOTO_API_KEY"),
                kind=ServiceKind(service),
                timeout=timeout,
                in_flight=max_in_flight,
            )
        )
        self._reads_files = transport if isinstance(transport, FileTransport) else None
        self._turns = asyncio.Semaphore(max_in_flight)

    async def predict(self, image: ImageInput, *, request_id: str = "") -> Detection:
        """Scores one photo.

        Args:
            image: The bytes of a JPEG, PNG, WebP, HEIC or AVIF file, a path to one, or a PIL image.
            request_id: A UUID or another generated id, under which the server's prediction log stores the answer. An id
                that could be a file name is not kept; the gateway then makes one, as it does if there is none.

        Returns:
            The detection, with the id under which it is stored.

        Raises:
            ImageError: If the photo cannot be scored; the subclass says why.
            ServiceError: If the service fails; the subclass says why.
            TypeError: If ``image`` is something else.
        """
        async with self._turns:
            ask = await self._asking(image, request_id)
            try:
                return await patiently(ask, self._allowed)
            except VeriphotoError as error:
                if isinstance(image, str | os.PathLike):
                    error.add_note(f"while scoring {os.fspath(image)}")
                raise

    async def predict_batch(self, images: Iterable[ImageInput]) -> list[Detection | VeriphotoError]:
        """Scores several photos concurrently.

        Args:
            images: Photos in any form that ``predict`` takes.

        Returns:
            For each photo, in order, its detection or the error that ``predict`` would have raised. A bad photo does
            not affect the others.

        Raises:
            TypeError: If one of ``images`` has a type that ``predict`` does not take.
        """
        wanted = list(images)
        for image in wanted:
            check_type(image)
        return await together(self._attempt(image) for image in wanted)

    async def feedback(self, request_id: str, truth: Prediction, *, note: str = "") -> FeedbackStatus:
        """Tells the gateway what a photo really is. Sending the same again changes nothing.

        Args:
            request_id: ``Detection.request_id`` of the photo's answer.
            truth: ``real`` or ``ai_generated``.
            note: The reason, which becomes part of the case.

        Returns:
            What became of it: ``decided``, ``unchanged``, ``kept`` (a reviewer has decided otherwise), ``waiting`` (no
            case yet) or ``reported`` (a person will decide).

        Raises:
            UsageError: If the URL leads to Triton, which takes no feedback.
            InvalidRequestError: If this gateway takes no feedback, or not with this key, or an argument is invalid.
            ServiceError: If the service fails; the subclass says why.
        """
        async with self._turns:
            return await patiently(lambda: self._service.feedback(request_id, truth, note), self._allowed)

    async def health(self) -> Health:
        """Checks that photos are scored, because a server may call itself ready while its models are dead.

        Triton scores a small test photo; the gateway reports the one that it had scored within the last seconds.
        Neither counts as traffic. Health is never retried.

        Returns:
            The server's version and latency.

        Raises:
            ServiceError: If the server is not healthy; the subclass says why.
        """
        async with self._turns:
            return replace(await self._service.health(), url=self.url)

    async def kind(self) -> ServiceKind:
        """Returns which server the URL leads to, ``triton`` or ``gateway``; asks it at most once.

        Raises:
            ServiceError: If it has to be asked and does not answer.
        """
        return await self._service.kind()

    async def close(self) -> None:
        """Closes connections."""
        await self._service.close()

    async def __aenter__(self) -> AsyncDetector:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _asking(self, image: ImageInput, request_id: str) -> Callable[[], Awaitable[Detection]]:
        there = self._reads_files
        if there is not None and isinstance(image, str | os.PathLike):
            path = os.fspath(image)

            async def ask() -> Detection:
                return decode_answer(await there.score_file(path))

            return ask
        # Reading and encoding block, so they run in a thread; bytes need neither.
        data = load(image) if isinstance(image, bytes) else await asyncio.to_thread(load, image)
        return lambda: self._service.detect(data, request_id)

    def _allowed(self) -> float:
        return self._service.patience if self._patience is None else self._patience

    async def _attempt(self, image: ImageInput) -> Detection | VeriphotoError:
        try:
            return await self.predict(image)
        except VeriphotoError as error:
            return error
