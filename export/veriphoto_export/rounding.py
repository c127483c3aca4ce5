"""Rounds weights so that a layer's outputs stay near, not each weight by itself.

GPTQ (Frantar et al. 2023, arXiv 2210.17323) for pointwise convolutions: input by input, what rounding adds to the
outputs is made good by the weights that are not rounded yet, as far as the inputs go together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper

from veriphoto_export.watching import watch

Floats = npt.NDArray[np.float64]

_POSITIONS: Final = 196
"""Positions of each picture that a layer's inputs are taken at; late maps have fewer."""
_DAMPING: Final = 0.01
"""Share of the mean second moment that is added to each: inputs that hardly vary in so few pictures stay tame."""


def round_weights(
    quantised: onnx.ModelProto,
    graph: onnx.ModelProto,
    convolutions: Sequence[str],
    crops: Sequence[npt.NDArray[np.uint8]],
) -> None:
    """Rounds the weights of a quantised graph anew; scales, zero points and biases stay.

    Args:
        quantised: The graph that ``quantize_static`` wrote; changed in place.
        graph: The graph in floats that it was made of.
        convolutions: Names of the pointwise convolutions that were quantised.
        crops: Pictures UINT8 [1, K, S, S, 3] to take the layers' inputs from.
    """
    nodes = {node.name: node for node in graph.graph.node}
    weights = {each.name: each for each in graph.graph.initializer}
    stored = {each.name: each for each in quantised.graph.initializer}
    moments = _moments(graph, sorted({nodes[name].input[0] for name in convolutions}), crops)
    for name in convolutions:
        source, kernel = nodes[name].input[:2]
        weight = onnx.numpy_helper.to_array(weights[kernel])
        scale = onnx.numpy_helper.to_array(stored[f"{kernel}_scale"])
        target = stored[f"{kernel}_quantized"]
        limit = int(np.abs(onnx.numpy_helper.to_array(target).astype(np.int16)).max())
        rounded = round_together(weight.reshape(len(weight), -1), scale.ravel(), moments[source], limit)
        target.CopyFrom(onnx.numpy_helper.from_array(rounded.reshape(weight.shape), target.name))


def round_together(
    weight: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], moments: Floats, limit: int
) -> npt.NDArray[np.int8]:
    """Rounds a matrix.

    Args:
        weight: FP32 [out, in].
        scale: FP32 [out]: what one step is worth.
        moments: FP64 [in, in]: mean products of the inputs.
        limit: Largest magnitude of a rounded weight.

    Returns:
        INT8 [out, in].
    """
    size = weight.shape[1]
    order = np.argsort(-np.diag(moments))  # what matters most is rounded first, while most can make it good
    damping = _DAMPING * float(np.mean(np.diag(moments))) + 1e-12
    inverse = np.linalg.inv(moments[np.ix_(order, order)] + damping * np.eye(size))
    factor = np.linalg.cholesky(inverse).T
    left = weight.astype(np.float64)[:, order]
    rounded = np.zeros(weight.shape, np.int8)
    for place, column in enumerate(order):
        steps = np.clip(np.rint(left[:, place] / scale), -limit, limit)
        rounded[:, column] = steps
        error = (left[:, place] - steps * scale) / factor[place, place]
        left[:, place + 1 :] -= np.outer(error, factor[place, place + 1 :])
    return rounded


def _moments(
    graph: onnx.ModelProto, tensors: Sequence[str], crops: Sequence[npt.NDArray[np.uint8]]
) -> Mapping[str, Floats]:
    """Returns the mean products of the channels of tensors [1, C, H, W], FP64 [C, C] each."""
    look = watch(graph, tensors)
    random = np.random.default_rng(0)
    sums: dict[str, Any] = dict.fromkeys(tensors, 0.0)
    counts = dict.fromkeys(tensors, 0)
    for picture in crops:
        for name, found in zip(tensors, look(picture), strict=True):
            channels = np.moveaxis(found, 1, 0).reshape(found.shape[1], -1)
            if channels.shape[1] > _POSITIONS:
                channels = channels[:, random.choice(channels.shape[1], _POSITIONS, replace=False)]
            wide = channels.astype(np.float64)
            sums[name] = sums[name] + wide @ wide.T
            counts[name] += wide.shape[1]
    return {name: sums[name] / counts[name] for name in tensors}
