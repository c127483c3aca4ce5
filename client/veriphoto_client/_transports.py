"""How pictures travel as Triton takes them, and the defaults of every request."""

from __future__ import annotations

from typing import Final, Protocol

from veriphoto.contract import TRITON_HTTP_PORT
from veriphoto_client._codec import Outputs

DEFAULT_URL: Final = f"http://127.0.0.1:{TRITON_HTTP_PORT}"
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds for one request, from sending to having the answer."""
DEFAULT_IN_FLIGHT: Final = 8


class Transport(Protocol):
    """Carries one encoded picture to a server and its tensors back. Bound to the event loop of its first request."""

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        """Scores one picture.

        Args:
            data: The bytes of an encoded file.
            request_id: Under which the server notes its answer; empty for none.

        Returns:
            FP32 PROBABILITY [1, 1], LOGIT [1, 1], EVIDENCE [1, K, G, G], STATISTICS [1, n], OPERATING_POINT [1, m].

        Raises:
            VeriphotoError: Nothing but this tree: ``ImageError`` for the picture, ``ServiceError`` for the service.
        """

    async def close(self) -> None:
        """Closes connections; may be called twice."""
