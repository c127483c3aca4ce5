"""Shows what tensors inside a graph hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from veriphoto.contract import CROPS


def watch(graph: onnx.ModelProto, tensors: Sequence[str]) -> Callable[[npt.NDArray[np.uint8]], list[npt.NDArray[Any]]]:
    """Opens a graph in ONNX Runtime on the CPU.

    Args:
        graph: One whose input is CROPS.
        tensors: Names of values inside it.

    Returns:
        What maps CROPS to those values, in that order.
    """
    from onnxruntime import InferenceSession  # noqa: PLC0415 - takes a second

    opened = onnx.ModelProto()
    opened.CopyFrom(graph)
    opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    session = InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda crops: list(session.run(list(tensors), {CROPS: crops}))
