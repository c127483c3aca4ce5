"""The exported graph: names, shapes, dynamic batch, calibration and evidence."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from toy_model import ToyNetwork

from veriphoto.contract import CONTRACT, CROPS, EVIDENCE, LOGIT, OPERATING_POINT, PROBABILITY
from veriphoto.errors import ModelError
from veriphoto.manifest import Calibration, Findings
from veriphoto.verdict import OperatingPoint
from veriphoto_export.graph import OUTPUTS, ClassifierGraph
from veriphoto_export.operating_point import stamp
from veriphoto_export.parity import Crops, reference_logits


def run(model: onnx.ModelProto, crops: Crops) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(OUTPUTS, {CROPS: crops}), strict=True))


def shapes(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[int, list[int | str]]]:
    tensors = {value.name: value.type.tensor_type for value in values}
    return {
        name: (kind.elem_type, [side.dim_param or side.dim_value for side in kind.shape.dim])
        for name, kind in tensors.items()
    }


def test_names_types_and_shapes_are_the_contract(model: onnx.ModelProto) -> None:
    size, crops, grid = CONTRACT.crop_size, CONTRACT.crops, CONTRACT.grid
    floats = onnx.TensorProto.FLOAT
    assert shapes(model.graph.input) == {CROPS: (onnx.TensorProto.UINT8, ["batch", crops, size, size, 3])}
    assert shapes(model.graph.output) == {
        PROBABILITY: (floats, ["batch", 1]),
        LOGIT: (floats, ["batch", 1]),
        EVIDENCE: (floats, ["batch", crops, grid, grid]),
        OPERATING_POINT: (floats, ["batch", len(CONTRACT.operating_point)]),
    }
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_every_batch_size_scores_as_the_network(
    batch: int, model: onnx.ModelProto, network: ToyNetwork, findings: Findings, noise: Crops
) -> None:
    answer = run(model, noise[:batch])
    expected = reference_logits(network, noise[:batch], findings.calibration)
    np.testing.assert_allclose(answer[LOGIT][:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(answer[PROBABILITY][:, 0], 1 / (1 + np.exp(-expected)), atol=1e-6)


def test_evidence_adds_up_to_the_logit(model: onnx.ModelProto, graph: ClassifierGraph, crops: Crops) -> None:
    answer = run(model, crops)
    sums = answer[EVIDENCE].mean(axis=(1, 2, 3)) + graph.evidence_bias
    np.testing.assert_allclose(sums, answer[LOGIT][:, 0], atol=1e-5)


def test_evidence_lies_where_the_network_looks(model: onnx.ModelProto, noise: Crops) -> None:
    """Changing one position's pixels changes that position's evidence and no other: the toy network sees no further."""
    grid, side = CONTRACT.grid, CONTRACT.crop_size // CONTRACT.grid
    changed = noise[:1].copy()
    changed[0, 0, 3 * side : 4 * side, 5 * side : 6 * side] = 0
    moved = run(model, noise[:1])[EVIDENCE] != run(model, changed)[EVIDENCE]
    assert np.argwhere(moved).tolist() == [[0, 0, 3, 5]]
    assert moved.shape == (1, CONTRACT.crops, grid, grid)


@pytest.mark.parametrize("calibration", [Calibration(), Calibration(temperature=3.0, bias=1.0)])
def test_calibration_is_inside(calibration: Calibration, network: ToyNetwork, noise: Crops) -> None:
    with torch.no_grad():
        logits = ClassifierGraph(network, calibration)(torch.from_numpy(noise))[1]
    np.testing.assert_allclose(logits[:, 0], reference_logits(network, noise, calibration), atol=1e-5)


def test_stamp_sets_the_operating_point_of_every_answer(model: onnx.ModelProto, noise: Crops) -> None:
    point = OperatingPoint(
        model_version=7, threshold=0.6, unsure_low=0.5, unsure_high=0.7, min_side=64, max_blockiness=3
    )
    answer = run(stamp(model, point), noise)
    np.testing.assert_array_equal(answer[OPERATING_POINT], np.float32([point.to_tensor()] * 3))
    np.testing.assert_array_equal(answer[LOGIT], run(model, noise)[LOGIT])
    assert not run(model, noise)[OPERATING_POINT].any(), "stamping must not change the model it copies"


def test_stamp_refuses_another_graph(findings: Findings) -> None:
    with pytest.raises(ModelError, match="no operating point"):
        stamp(onnx.ModelProto(), findings.operating_point)


def test_nothing_of_this_machine_is_in_the_file(model: onnx.ModelProto) -> None:
    content = model.SerializeToString()
    assert b"site-packages" not in content
    assert b".py" not in content
