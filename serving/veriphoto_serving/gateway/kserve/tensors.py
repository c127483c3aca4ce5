"""The tensors of an answer, as the SDK knows them: the one place where this package asks the client's codec."""

from __future__ import annotations

from veriphoto_client.sdk.answers import encode_answer
from veriphoto_client.triton.transport import LENGTH_BYTES, LENGTH_HEADER, OUTPUT_SHAPES, Outputs

__all__ = ["LENGTH_BYTES", "LENGTH_HEADER", "OUTPUT_SHAPES", "Outputs", "encode_answer"]
