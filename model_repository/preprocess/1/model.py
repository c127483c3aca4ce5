"""Triton glue of ``preprocess``: hands each picture to ``veriphoto.isolation`` and its errors to the caller.

A bad picture fails its own request with INVALID_ARG; other requests of the same dynamic batch are answered. A request
that itself holds several pictures fails as a whole, naming the first bad one: Triton gives a request one response.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from veriphoto.contract import CROPS, IMAGE, STATISTICS
from veriphoto.errors import ImageError
from veriphoto.isolation import preprocess

# Stubs of older servers hand on empty arrays from numpy 2, without a word.
_FIRST_WITH_NUMPY_2 = (24, 11)


class TritonPythonModel:
    """One instance, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002
        """Refuses an environment in which answers would be silently empty."""
        release = tuple(map(int, re.findall(r"\d+", os.environ.get("NVIDIA_TRITON_SERVER_VERSION", "0"))[:2]))
        if int(np.__version__.split(".")[0]) >= 2 and release < _FIRST_WITH_NUMPY_2:
            raise pb_utils.TritonModelException(
                f"numpy {np.__version__} gives empty outputs with this Triton; install 'numpy<2' for its Python"
            )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers every request, each with its own response."""
        return [_answer(request) for request in requests]


def _answer(request: Any) -> Any:
    try:
        return _prepare(pb_utils.get_input_tensor_by_name(request, IMAGE).as_numpy().ravel())
    except Exception as error:  # noqa: BLE001  the caller gets no stack trace, the log no picture
        place = traceback.extract_tb(error.__traceback__)[-1]
        pb_utils.Logger.log_error(f"preprocess failed: {type(error).__name__} in {place.name}, line {place.lineno}")
        return _refuse("internal error in preprocess; see the server's log", pb_utils.TritonError.INTERNAL)


def _prepare(pictures: Sequence[bytes]) -> Any:
    prepared = []
    for index, data in enumerate(pictures):
        try:
            prepared.append(preprocess(data))
        except ImageError as error:
            place = f"{IMAGE}[{index}]: " if len(pictures) > 1 else ""
            return _refuse(place + error.to_wire(), pb_utils.TritonError.INVALID_ARG)
    crops = pb_utils.Tensor(CROPS, np.stack([each.crops for each in prepared]))
    statistics = pb_utils.Tensor(STATISTICS, np.stack([each.statistics for each in prepared]))
    return pb_utils.InferenceResponse(output_tensors=[crops, statistics])


def _refuse(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
