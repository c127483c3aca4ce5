"""The tensors of an answer, as the SDK knows them: the one place where this package asks the client's codec."""

from __future__ import annotations

from veriphoto_client._codec import OUTPUT_SHAPES, Outputs, encode_answer

__all__ = ["OUTPUT_SHAPES", "Outputs", "encode_answer"]
