"""Real engines from a real builder, on machines without a GPU; skipped aloud where no builder is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from toy_model import ROOT, publish_toy

from veriphoto.contract import CONTRACT, CROPS, OPERATING_POINT, PROBABILITY
from veriphoto.errors import ModelError, UsageError
from veriphoto_export import tensorrt_plan
from veriphoto_export.tensorrt_plan import build_plan, to_fp16

needs_builder = pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in tensorrt_plan.PACKAGES),
    reason="no TensorRT builder here; .venv/bin/pip install -e '.[tensorrt]'",
)
SHAPE = (CONTRACT.crops, CONTRACT.crop_size, CONTRACT.crop_size, 3)


@pytest.fixture
def version(repository: Path) -> Path:
    return publish_toy(repository, 1)


def run(model: onnx.ModelProto, crops: np.ndarray, output: str) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([output], {CROPS: crops})[0]


def test_fp16_keeps_the_answer(version: Path, noise: np.ndarray) -> None:
    """The operating point to the last bit: FP16 knows no threshold of 0.61 and no version 2,049."""
    model = onnx.load(version / "model.onnx")
    half = to_fp16(model)
    assert any(each.data_type == onnx.TensorProto.FLOAT16 for each in half.graph.initializer)
    assert (run(half, noise, OPERATING_POINT) == run(model, noise, OPERATING_POINT)).all()
    assert np.abs(run(half, noise, PROBABILITY) - run(model, noise, PROBABILITY)).max() < 0.01


@needs_builder
@pytest.mark.parametrize(("precision", "type_name"), [("fp32", "FLOAT"), ("fp16", "HALF")])
def test_an_engine_is_what_the_contract_says(precision: str, type_name: str, version: Path, tmp_path: Path) -> None:
    plan = build_plan(version / "model.onnx", tmp_path / "model.plan", precision=precision, capability="SM89")
    assert (tmp_path / "model.plan").stat().st_size == plan.bytes > 1000
    [crops] = plan.inputs
    assert (crops.name, crops.dtype, crops.shape) == (CROPS, "UINT8", (-1, *SHAPE))
    grid = CONTRACT.grid
    shapes = {"PROBABILITY": (1,), "LOGIT": (1,), "EVIDENCE": (CONTRACT.crops, grid, grid), OPERATING_POINT: (6,)}
    assert {each.name: each.shape for each in plan.outputs} == {name: (-1, *shape) for name, shape in shapes.items()}
    assert {each.dtype for each in plan.outputs} == {"FLOAT"}
    assert plan.convolutions[type_name] >= 1
    assert plan.profile == {"min": (1, *SHAPE), "opt": (16, *SHAPE), "max": (64, *SHAPE)}


@needs_builder
def test_the_command_writes_the_plan_beside_the_graph(version: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensorrt_plan.main([str(version), "--capability", "SM89"])
    assert json.loads(capsys.readouterr().out)["bytes"] == (version / "model.plan").stat().st_size


@needs_builder
def test_an_unknown_gpu_is_refused(version: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not know SM1; choose from"):
        build_plan(version / "model.onnx", tmp_path / "model.plan", capability="SM1")


@needs_builder
def test_a_graph_that_is_none_is_refused(version: Path, tmp_path: Path) -> None:
    graph = onnx.load(version / "model.onnx")
    graph.graph.node[-1].op_type = "Nonsense"
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError):
        build_plan(tmp_path / "model.onnx", tmp_path / "model.plan", precision="fp32", capability="SM89")
    assert not (tmp_path / "model.plan").exists()


def test_the_script_for_the_container_is_sound() -> None:
    subprocess.run(["sh", "-n", str(ROOT / "docker" / "build-plan.sh")], check=True)
