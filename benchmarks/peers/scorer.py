"""What every peer but the seed's way runs: preprocessing and graph of one commit, on one thread of each process.

Imports nothing that serves. ``VERIPHOTO_ONNX`` names the graph; the commit's ``core`` is on PYTHONPATH.
"""

from __future__ import annotations

import os

import onnxruntime

from veriphoto.contract import CROPS, PROBABILITY
from veriphoto.preprocessing import preprocess


class Scorer:
    """One session. The same options as Veriphoto's embedded classifier has."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.environ["VERIPHOTO_ONNX"]
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, data: bytes) -> float:
        """Scores the bytes of a file."""
        crops = preprocess(data).crops[None]
        return float(self._session.run([PROBABILITY], {CROPS: crops})[0].item())
