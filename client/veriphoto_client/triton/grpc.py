"""Scoring over gRPC with tritonclient's messages, on one channel for all requests.

tritonclient's own client holds a file of 20 MB in memory four times while it is scored: as a tensor, in the message,
serialised, and inside gRPC. Here the file is appended to the serialised rest of the message, which leaves the last two.
"""

from __future__ import annotations

import struct
from typing import Final

import grpc.aio
from tritonclient.grpc import InferResult
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse
from tritonclient.utils import InferenceServerException

from veriphoto.contract import ENSEMBLE, IMAGE, MAX_FILE_BYTES
from veriphoto.telemetry import tracing
from veriphoto_client.triton.translate import translate
from veriphoto_client.triton.transport import OUTPUT_SHAPES, Outputs

_MESSAGE_BYTES: Final = 2 * MAX_FILE_BYTES  # gRPC's own limit of 4 MB would refuse a good photo
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_RAW_INPUT: Final = bytes([ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])
"""Tag of the field: its number, and that its length follows."""
_CHANNEL: Final = [
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),  # as over HTTP, the environment's proxy is not used
    # So that a server that comes back is noticed within seconds; by default, pauses grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.lb_policy_name", "round_robin"),  # several servers behind one name share the work, dead ones are left out
]


class GrpcTransport:
    """Implements ``Transport``."""

    def __init__(self, address: str, *, url: str, timeout: float) -> None:
        """Stores the address; connects at the first request, inside its event loop.

        Args:
            address: ``host:port``.
            url: The address as the user wrote it, for messages.
            timeout: Seconds for one request.
        """
        self._address = address
        self._url = url
        self._timeout = timeout
        self._channel: grpc.aio.Channel | None = None

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        """See ``Transport.score``."""
        infer = self._connected().unary_unary(_INFER, response_deserializer=ModelInferResponse.FromString)
        try:
            metadata = tuple(tracing.outgoing_headers().items())
            result = InferResult(await infer(_message(data, request_id), timeout=self._timeout, metadata=metadata))
        except grpc.aio.AioRpcError as error:
            known = InferenceServerException(error.details() or "", str(error.code()))
            raise translate(known, self._url, self._timeout) from error
        return {name: tensor for name in OUTPUT_SHAPES if (tensor := result.as_numpy(name)) is not None}

    async def close(self) -> None:
        """See ``Transport.close``."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _connected(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._address, options=_CHANNEL)
        return self._channel


def _message(data: bytes, request_id: str) -> bytes:
    """Serialises a ModelInferRequest whose one raw input is a BYTES tensor that holds one file."""
    head = ModelInferRequest(
        model_name=ENSEMBLE,
        id=request_id,
        inputs=[ModelInferRequest.InferInputTensor(name=IMAGE, datatype="BYTES", shape=[1, 1])],
        outputs=[ModelInferRequest.InferRequestedOutputTensor(name=name) for name in OUTPUT_SHAPES],
    )
    length = struct.pack("<I", len(data))  # as Triton writes an element of a BYTES tensor
    return b"".join((head.SerializeToString(), _RAW_INPUT, _varint(len(length) + len(data)), length, data))


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
