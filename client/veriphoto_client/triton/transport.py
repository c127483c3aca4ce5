"""What travels between the SDK and Triton: one encoded file there, six tensors back; and the defaults of a request."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from veriphoto.contract import (
    CONTRACT,
    EVIDENCE,
    LOGIT,
    OPERATING_POINT,
    OPINION_VALUES,
    OPINIONS,
    PROBABILITY,
    STATISTICS,
    TRITON_HTTP_PORT,
)

LENGTH_HEADER: Final = "Inference-Header-Content-Length"
"""HTTP header of KServe's binary form: bytes of JSON in front of the binary data; 0 where the body is one file."""
LENGTH_BYTES: Final = 4
"""Bytes in front of an element of type BYTES that hold its length, little-endian."""

Outputs: TypeAlias = Mapping[str, npt.NDArray[np.float32]]
"""Tensors by name, the batch dimension of 1 in front."""

OUTPUT_SHAPES: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        PROBABILITY: (1,),
        LOGIT: (1,),
        EVIDENCE: (CONTRACT.crops, CONTRACT.grid, CONTRACT.grid),
        STATISTICS: (len(CONTRACT.statistics),),
        OPERATING_POINT: (len(CONTRACT.operating_point),),
        OPINIONS: (len(OPINION_VALUES),),
    }
)
"""The outputs requested for every photo, with their shapes without the batch dimension."""


DEFAULT_URL: Final = f"http://127.0.0.1:{TRITON_HTTP_PORT}"
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds for one request, from sending to having the answer."""
DEFAULT_IN_FLIGHT: Final = 8


class Transport(Protocol):
    """Sends one encoded photo to a server and returns its tensors. Bound to the event loop of its first request."""

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        """Scores one photo.

        Args:
            data: The bytes of an encoded file.
            request_id: The id under which the server logs its answer; empty for none.

        Returns:
            The FP32 tensors of ``OUTPUT_SHAPES``, each with a batch dimension of 1 in front.

        Raises:
            VeriphotoError: Nothing but this tree: ``ImageError`` for the photo, ``ServiceError`` for the service.
        """

    async def close(self) -> None:
        """Closes connections; may be called twice."""


@runtime_checkable
class FileTransport(Transport, Protocol):
    """A transport to this machine itself, which reads files where they are scored."""

    async def score_file(self, path: str) -> Outputs:
        """Scores a file as ``score`` does its bytes.

        Args:
            path: The file.

        Raises:
            VeriphotoError: As ``score``, and ``UnreadableFileError`` and ``FileTooLargeError``.
        """
