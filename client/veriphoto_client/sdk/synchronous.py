"""The synchronous detector: waits for an ``AsyncDetector`` on an event loop of its own."""

from __future__ import annotations

import asyncio
import atexit
import threading
import weakref
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, TypeVar

from veriphoto.errors import VeriphotoError
from veriphoto.verdict import Prediction
from veriphoto_client.sdk.asynchronous import AsyncDetector
from veriphoto_client.sdk.detection import Detection, FeedbackStatus, Health
from veriphoto_client.sdk.images import ImageInput
from veriphoto_client.sdk.services import ServiceKind
from veriphoto_client.triton.transport import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, Transport

T = TypeVar("T")

_CLOSE_SECONDS: Final = 5.0


class Detector:
    """Scores photos on a Veriphoto server. Threads may share a detector; a forked process needs its own.

    Close it, or use it in a ``with`` statement.

    Example:
        >>> with Detector("http://127.0.0.1:8080", api_key=key) as detector:
        ...     print(detector.predict("photo.jpg").verdict)
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
        """Prepares the detector; see ``AsyncDetector`` for arguments and errors."""
        self._detector = AsyncDetector(
            url,
            api_key=api_key,
            service=service,
            timeout=timeout,
            max_in_flight=max_in_flight,
            patience=patience,
            transport=transport,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run, args=(self._loop,), name="veriphoto-client", daemon=True)
        self._thread.start()
        # Garbage is collected in whatever thread happens to be running, under whatever locks it holds: waiting there
        # for another thread could wait for ever.
        self._forgotten = weakref.finalize(self, _shut, self._detector, self._loop)
        self._forgotten.atexit = False
        _OPEN.add(self)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._detector.url

    def predict(self, image: ImageInput, *, request_id: str = "") -> Detection:
        """Scores one photo; see ``AsyncDetector.predict``."""
        return self._wait(self._detector.predict(image, request_id=request_id))

    def predict_batch(self, images: Iterable[ImageInput]) -> list[Detection | VeriphotoError]:
        """Scores several photos concurrently; see ``AsyncDetector.predict_batch``."""
        return self._wait(self._detector.predict_batch(images))

    def feedback(self, request_id: str, truth: Prediction, *, note: str = "") -> FeedbackStatus:
        """Tells the gateway what a photo really is; see ``AsyncDetector.feedback``."""
        return self._wait(self._detector.feedback(request_id, truth, note=note))

    def health(self) -> Health:
        """Scores a small test photo on the server; see ``AsyncDetector.health``."""
        return self._wait(self._detector.health())

    def close(self) -> None:
        """Closes connections and ends the background thread. May be called twice."""
        if self._forgotten.detach() is None:
            return
        _OPEN.discard(self)
        closed = _shut(self._detector, self._loop)
        self._thread.join(_CLOSE_SECONDS)
        if closed.done():
            closed.result()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._forgotten.alive:
            work.close()
            raise RuntimeError("this detector is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # after Ctrl-C; does nothing if the work itself failed
            raise


_OPEN: Final[weakref.WeakSet[Detector]] = weakref.WeakSet()
"""Those that nobody has closed yet; they are closed when the interpreter ends."""


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        # What an answer that cannot be unpacked has left half-read would complain of the loop's end.
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _shut(detector: AsyncDetector, loop: asyncio.AbstractEventLoop) -> Future[None]:
    """Asks the loop's thread to close the connections and to end; waits for neither."""
    closed = asyncio.run_coroutine_threadsafe(_within(detector.close()), loop)
    closed.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
    return closed


async def _within(work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(_CLOSE_SECONDS):
        await work


@atexit.register
def _close_all() -> None:
    for detector in list(_OPEN):
        detector.close()
