"""HTTP to Triton: the file itself is the body (Triton's raw binary request), tritonclient reads the answer.

tritonclient's own HTTP clients are not used: the plain one is bound to a thread each by gevent, and the asyncio one
wraps the file in JSON and a copy, for two thirds of the requests a second.
"""

from __future__ import annotations

import io
import json
from typing import Any, Final

import aiohttp
from tritonclient.http import InferResult
from tritonclient.utils import InferenceServerException

from veriphoto.contract import ENSEMBLE, IMAGE
from veriphoto_client.triton.translate import translate
from veriphoto_client.triton.transport import OUTPUT_SHAPES, Outputs

_LENGTH: Final = "Inference-Header-Content-Length"
_PREFIX: Final = 4  # bytes that hold the length of a BYTES element
_HEADERS: Final = {
    # Said aloud: Triton dies of bodies over 4 MB that call themselves a form, which some HTTP libraries assume.
    "Content-Type": "application/octet-stream",
    _LENGTH: "0",
    "Accept-Encoding": "identity",  # or Triton would spend time on compressing a few hundred floats
}


class HttpTransport:
    """Implements ``Transport``."""

    def __init__(self, address: str, *, url: str, timeout: float, in_flight: int) -> None:
        """Remembers where to connect; connects at the first request, inside its event loop.

        Args:
            address: ``host:port``.
            url: What the user calls the server, for messages.
            timeout: Seconds for one request.
            in_flight: Most connections to open.
        """
        self._target = f"http://{address}/v2/models/{ENSEMBLE}/infer"
        self._url = url
        self._timeout = timeout
        self._in_flight = in_flight
        self._session: aiohttp.ClientSession | None = None

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        """See ``Transport.score``."""
        body, headers = _named(data, request_id) if request_id else (data, _HEADERS)
        try:
            # A stream, though it is all in memory: it goes out piece by piece and leaves the loop room between.
            async with self._connected().post(self._target, data=io.BytesIO(body), headers=headers) as answer:
                said = await answer.read()
                return _outputs(answer.status, said, answer.headers.get(_LENGTH))
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


def _named(data: bytes, request_id: str) -> tuple[bytes, dict[str, str]]:
    """Makes a request with an id: the raw form has no place for one, so the file goes behind a header of JSON."""
    size = {"binary_data_size": _PREFIX + len(data)}
    image = {"name": IMAGE, "shape": [1, 1], "datatype": "BYTES", "parameters": size}
    header = {"id": request_id, "parameters": {"binary_data_output": True}, "inputs": [image]}
    head = json.dumps(header).encode()
    return b"".join((head, len(data).to_bytes(_PREFIX, "little"), data)), {**_HEADERS, _LENGTH: str(len(head))}


def _outputs(status: int, body: bytes, header_length: str | None) -> Outputs:
    if status != 200:
        raise InferenceServerException(_reason(body), status=str(status))
    try:
        result = InferResult.from_response_body(body, header_length=header_length)
        return {name: tensor for name in OUTPUT_SHAPES if (tensor := result.as_numpy(name)) is not None}
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # whatever else answers with 200
        raise InferenceServerException("what answers there is not Triton", status=str(status)) from error


def _reason(body: bytes) -> str:
    try:
        said: Any = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        said = body[:200].decode("utf-8", "replace")
    return str(said)
