"""Scoring over HTTP: the file itself is the body (Triton's raw binary request), and tritonclient reads the answer.

tritonclient's own HTTP clients are not used: gevent ties the plain one to a thread, and the asyncio one wraps the file
in JSON and copies it, which costs a third of the requests per second.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import aiohttp
from tritonclient.http import InferResult
from tritonclient.utils import InferenceServerException

from veriphoto.contract import ENSEMBLE, IMAGE
from veriphoto.foreign_json import parse
from veriphoto.telemetry import tracing
from veriphoto_client.triton.translate import translate
from veriphoto_client.triton.transport import LENGTH_BYTES, LENGTH_HEADER, OUTPUT_SHAPES, Outputs

RAW_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Explicit, because some HTTP libraries call every body a form, and Triton crashes on forms over 4 MB.
        "Content-Type": "application/octet-stream",
        LENGTH_HEADER: "0",
        "Accept-Encoding": "identity",  # or Triton would spend time on compressing a few hundred floats
    }
)
"""Headers of a request whose body is one encoded file and nothing else."""


def infer_url(address: str) -> str:
    """Returns where a Triton at ``host:port`` takes photos for the ensemble."""
    return f"http://{address}/v2/models/{ENSEMBLE}/infer"


class HttpTransport:
    """Implements ``Transport``."""

    def __init__(self, address: str, *, url: str, timeout: float, in_flight: int) -> None:
        """Stores the address; connects at the first request, inside its event loop.

        Args:
            address: ``host:port``.
            url: The address as the user wrote it, for messages.
            timeout: Seconds for one request.
            in_flight: Maximum number of connections.
        """
        self._target = infer_url(address)
        self._url = url
        self._timeout = timeout
        self._in_flight = in_flight
        self._session: aiohttp.ClientSession | None = None

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        """See ``Transport.score``."""
        body, headers = _named(data, request_id) if request_id else (data, RAW_HEADERS)
        headers = {**headers, **tracing.outgoing_headers()}
        try:
            # A stream, although it is all in memory: it is sent piece by piece, and the event loop runs in between.
            async with self._connected().post(self._target, data=io.BytesIO(body), headers=headers) as answer:
                said = await answer.read()
                return _outputs(answer.status, said, answer.headers.get(LENGTH_HEADER))
        except (TimeoutError, InferenceServerException, aiohttp.ClientError, OSError) as error:
            raise translate(error, self._url, self._timeout) from error

    async def close(self) -> None:
        """See ``Transport.close``."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._in_flight),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _named(data: bytes, request_id: str) -> tuple[bytes, Mapping[str, str]]:
    """Makes a request with an id. A raw request cannot have one, so the file follows a JSON header."""
    size = {"binary_data_size": LENGTH_BYTES + len(data)}
    image = {"name": IMAGE, "shape": [1, 1], "datatype": "BYTES", "parameters": size}
    header = {"id": request_id, "parameters": {"binary_data_output": True}, "inputs": [image]}
    head = json.dumps(header).encode()
    body = b"".join((head, len(data).to_bytes(LENGTH_BYTES, "little"), data))
    return body, {**RAW_HEADERS, LENGTH_HEADER: str(len(head))}


def _outputs(status: int, body: bytes, header_length: str | None) -> Outputs:
    if status != 200:
        raise InferenceServerException(_reason(body), status=str(status))
    try:
        result = InferResult.from_response_body(body, header_length=header_length)
        return {name: tensor for name in OUTPUT_SHAPES if (tensor := result.as_numpy(name)) is not None}
    # Another server that answers with 200.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InferenceServerException("what answers there is not Triton", status=str(status)) from error


def _reason(body: bytes) -> str:
    try:
        said: Any = parse(body)["error"]
    except (ValueError, KeyError, TypeError):
        said = body[:200].decode("utf-8", "replace")
    return str(said)
