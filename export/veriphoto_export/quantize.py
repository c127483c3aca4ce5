"""INT8 by static quantisation (QDQ), with what is known of this network and of CPUs built in.

* Per-channel weights of 7 bits: AVX2 without VNNI adds pairs of products in 16 bits, and with full-range weights
  (127 * 255 * 2) those saturate; with 64 * 255 * 2 = 32,640 they cannot, so every CPU gives the same score.
  ``rounding`` makes up for the bit that is missing.
* In float stay the first and the last convolution, squeeze-excitation (sums over whole maps) and the depthwise
  convolutions (nine numbers a channel: little to gain, much to lose). A convolution takes INT8 and gives float.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper

from veriphoto.contract import CROPS
from veriphoto.errors import DataError, ModelError
from veriphoto_export.rounding import round_weights

WEIGHT_LIMIT: Final = 64
"""Largest magnitude of a 7-bit weight."""

Crops = npt.NDArray[np.uint8]


def quantize_int8(model: Path, target: Path, calibration: Sequence[Crops], *, symmetric: bool = False) -> list[str]:
    """Writes an INT8 copy of a graph.

    Args:
        model: ``model.onnx``.
        target: The file to write.
        calibration: UINT8 [1, K, S, S, 3] each, of real photos of both classes.
        symmetric: Signed activations around zero, which is all that TensorRT knows; CPUs do better without.

    Returns:
        Names of the quantised convolutions.

    Raises:
        DataError: If there is nothing to calibrate with.
        ModelError: If there is nothing to quantise.
    """
    if not calibration:
        raise DataError("no picture to calibrate INT8 with")
    from onnxruntime import quantization  # noqa: PLC0415 - takes a second

    graph = onnx.load(model)
    chosen = quantisable(graph)
    if not chosen:  # the quantiser would take an empty list for all of them
        raise ModelError(f"{model} has no pointwise convolution between its first and its last to quantise")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(calibration)

        def get_next(self) -> dict[str, Crops] | None:
            crops = next(self._rest, None)
            return None if crops is None else {CROPS: crops}

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            str(model),
            str(written),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            nodes_to_quantize=chosen,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QInt8 if symmetric else quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={
                "CalibMovingAverage": True,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
                "ActivationSymmetric": symmetric,
                "QuantizeBias": not symmetric,  # as INT32, which TensorRT does not take
            },
        )
        quantised = onnx.load(written)
    round_weights(quantised, graph, chosen, calibration)
    onnx.save(quantised, target)
    return chosen


def quantisable(graph: onnx.ModelProto) -> list[str]:
    """Names the convolutions that take INT8: pointwise, neither first nor last, not of squeeze-excitation."""
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    makers = {output: node for node in graph.graph.node for output in node.output}
    return [
        node.name
        for node in convolutions[1:-1]
        if _groups(node) == 1 and not _reaches_mean(node.input[0], makers, convolutions_left=1)
    ]


def weights_fit(graph: onnx.ModelProto) -> bool:
    """Returns whether every INT8 weight has at most 7 bits, so that no CPU's 16-bit sums can saturate."""
    values = [onnx.numpy_helper.to_array(each) for each in graph.graph.initializer]
    return all(
        int(np.abs(each.astype(np.int16)).max(initial=0)) <= WEIGHT_LIMIT for each in values if each.dtype == np.int8
    )


def _groups(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _reaches_mean(tensor: str, makers: dict[str, Any], convolutions_left: int) -> bool:
    """Walks back through one activation and at most one convolution to a mean: the two layers of squeeze-excitation."""
    node = makers.get(tensor)
    if node is None:
        return False
    if node.op_type == "ReduceMean":
        return True
    if node.op_type == "Conv":
        return convolutions_left > 0 and _reaches_mean(node.input[0], makers, convolutions_left - 1)
    if node.op_type in ("Clip", "Relu"):
        return _reaches_mean(node.input[0], makers, convolutions_left)
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
