"""gRPC to Triton, by tritonclient's asyncio client: one channel for all requests."""

from __future__ import annotations

from typing import Final

from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from veriphoto.contract import ENSEMBLE, IMAGE, MAX_FILE_BYTES
from veriphoto_client._codec import OUTPUT_SHAPES, Outputs, encode_request
from veriphoto_client._translate import translate

_MESSAGE_BYTES: Final = 2 * MAX_FILE_BYTES  # gRPC's own limit of 4 MB would refuse a good photo
_CHANNEL: Final = [
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),  # as over HTTP: a proxy of the environment is not asked
    # A server that comes back is noticed within seconds; gRPC's own pauses grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.lb_policy_name", "round_robin"),  # several servers behind one name: share the work, leave dead ones out
]


class GrpcTransport:
    """Implements ``Transport``."""

    def __init__(self, address: str, *, url: str, timeout: float) -> None:
        """Remembers where to connect; connects at the first request, inside its event loop.

        Args:
            address: ``host:port``.
            url: What the user calls the server, for messages.
            timeout: Seconds for one request.
        """
        self._address = address
        self._url = url
        self._timeout = timeout
        self._client: InferenceServerClient | None = None

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        """See ``Transport.score``."""
        image = InferInput(IMAGE, [1, 1], "BYTES")
        image.set_data_from_numpy(encode_request(data))
        wanted = [InferRequestedOutput(name) for name in OUTPUT_SHAPES]
        try:
            result = await self._connected().infer(
                ENSEMBLE, [image], outputs=wanted, request_id=request_id, client_timeout=self._timeout
            )
        except InferenceServerException as error:
            raise translate(error, self._url, self._timeout) from error
        return {name: tensor for name in OUTPUT_SHAPES if (tensor := result.as_numpy(name)) is not None}

    async def close(self) -> None:
        """See ``Transport.close``."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _connected(self) -> InferenceServerClient:
        if self._client is None:
            self._client = InferenceServerClient(self._address, channel_args=_CHANNEL)
        return self._client
