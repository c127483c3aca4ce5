"""Writes a version's operating point into a graph; needs ONNX alone, so that promoting never loads torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import onnx
import onnx.numpy_helper

from veriphoto.errors import ModelError
from veriphoto.manifest import Findings
from veriphoto.verdict import OperatingPoint

OPERATING_POINT_CONSTANT: Final = "operating_point"
UNSERVED: Final = 0
"""Version in the graph of a model that is registered and not served."""


def operating_point(findings: Findings, version: int) -> OperatingPoint:
    """Gives a run's operating point its version, rounded to the FP32 in which answers carry it.

    So the manifest and every answer say exactly the same numbers.

    Args:
        findings: Findings of the training run.
        version: Number of the version to publish.
    """
    point = findings.operating_point
    rounded = replace(point, model_version=version)
    return OperatingPoint.from_tensor([float(np.float32(value)) for value in rounded.to_tensor()])


def stamp(model: onnx.ModelProto, point: OperatingPoint) -> onnx.ModelProto:
    """Writes the operating point into a copy of the model.

    Args:
        model: A graph from ``graph.export_onnx``.
        point: Operating point of the published version.

    Returns:
        The copy.

    Raises:
        ModelError: If the model has no such constant.
    """
    stamped = onnx.ModelProto()
    stamped.CopyFrom(model)
    for constant in stamped.graph.initializer:
        if constant.name == OPERATING_POINT_CONSTANT:
            values = np.array([point.to_tensor()], dtype=np.float32)
            constant.CopyFrom(onnx.numpy_helper.from_array(values, OPERATING_POINT_CONSTANT))
            return stamped
    raise ModelError("the graph has no operating point; export it again from its checkpoint")
