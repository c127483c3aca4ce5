"""Variants: what INT8 may touch, that its weights cannot saturate, and that only what scores as fp32 is accepted."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from toy_model import REPOSITORY, SAMPLES, ToyNetwork, copy_repository, toy_findings

from veriphoto.contract import CROPS, LOGIT
from veriphoto.errors import DataError, UsageError
from veriphoto.manifest import sha256_file
from veriphoto.variants import INT8_FILE, VARIANTS_FILE, Variant
from veriphoto_export import variants
from veriphoto_export.graph import ClassifierGraph, export_onnx
from veriphoto_export.quantize import quantisable, quantize_int8, weights_fit
from veriphoto_export.runners import available, open_variant
from veriphoto_export.variants import VariantMeasurement, build_variants, fastest
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.publish import publish
from veriphoto_training.data.dataset import Dataset, read_dataset


class BlockNetwork(ToyNetwork):
    """With a block as EfficientNet has them: pointwise, depthwise, squeeze-excitation, pointwise."""

    def __init__(self) -> None:
        super().__init__(seed=5)
        torch.manual_seed(5)
        self.expand, self.depthwise = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.reduce, self.restore = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.project, self.head = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 8, 1)
        self.eval()

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        relu = nn.functional.relu6
        x = relu(self.depthwise(relu(self.expand(torch.relu(self.stem(pixels))))))
        gate = self.restore(relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return relu(self.head(self.project(x * nn.functional.hardsigmoid(gate))))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = copy_repository(tmp_path_factory.mktemp("variants") / "models")
    graph = ClassifierGraph(BlockNetwork(), toy_findings().calibration)
    bundle = ModelBundle(graph=export_onnx(graph), findings=toy_findings(), evidence_bias=graph.evidence_bias)
    publish(bundle, repository, 1)
    return repository


@pytest.fixture
def own(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "models"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("data")
    for label, files in (("real", SAMPLES[:4]), ("ai", SAMPLES[4:8])):
        (root / label).mkdir()
        for file in files:
            shutil.copy(file, root / label)
    return read_dataset(root)


def test_int8_takes_pointwise_convolutions_only(published: Path) -> None:
    """Not the first, the last, depthwise or squeeze-excitation: three of the block's six, and the block's head."""
    graph = onnx.load(published / "classifier" / "1" / "model.onnx")
    assert len([node for node in graph.graph.node if node.op_type == "Conv"]) == 8
    assert len(quantisable(graph)) == 3


@pytest.mark.skipif(not (REPOSITORY / "classifier" / "1" / "model.onnx").is_file(), reason="no shipped model here")
def test_of_the_real_network_the_32_pointwise_ones() -> None:
    """16 blocks: 15 expansions, 16 projections, the head's."""
    assert len(quantisable(onnx.load(REPOSITORY / "classifier" / "1" / "model.onnx"))) == 32


def test_weights_have_seven_bits_so_that_no_cpu_saturates(published: Path, crops: np.ndarray, tmp_path: Path) -> None:
    """The worst pair of products of AVX2's 16-bit sums, 2 * 64 * 255, is under 32,767."""
    source, target = published / "classifier" / "1" / "model.onnx", tmp_path / INT8_FILE
    assert len(quantize_int8(source, target, [each[np.newaxis] for each in crops[:4]])) == 3
    graph = onnx.load(target)
    assert weights_fit(graph)
    integers = [each for each in graph.graph.initializer if each.data_type == onnx.TensorProto.INT8]
    assert any(len(each.dims) == 4 for each in integers)
    before, after = (_logits(file, crops) for file in (source, target))
    assert np.abs(before - after).max() < 0.25
    full = onnx.numpy_helper.from_array(np.array([127], dtype=np.int8), "full")
    graph.graph.initializer.append(full)
    assert not weights_fit(graph)


def _logits(file: Path, crops: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return np.array([session.run([LOGIT], {CROPS: each[np.newaxis]})[0][0, 0] for each in crops])


def test_variants_are_built_measured_and_written(own: Path, data: Dataset) -> None:
    rows = build_variants(own / "classifier" / "1", data.pictures, calibration=2, most=2, rounds=2)
    assert [row.variant for row in rows] == [each.value for each in available()]
    body = json.loads((own / "classifier" / "1" / VARIANTS_FILE).read_text())
    assert body["fastest"] == fastest(rows)
    first = rows[0]
    assert (first.variant, first.accepted, first.largest_difference) == ("fp32", True, 0.0)
    assert set(first.ms_per_crop) == {"b1c1", "b8c1", "b1c2", "b8c2"}
    assert set(first.auroc) == {"clean", "hard"}


def test_measured_again_the_eight_bits_stay(own: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another photo to calibrate with would make another network: one version, measured on two machines, is one."""
    monkeypatch.setattr(variants, "MAX_ACCURACY_LOSS", 1.0)
    monkeypatch.setattr(variants, "MAX_AUROC_LOSS", 1.0)
    monkeypatch.setattr(variants, "available", lambda: [Variant.FP32, Variant.INT8])
    directory = own / "classifier" / "1"

    def built(calibration: int) -> str:
        rows = build_variants(directory, data.pictures, calibration=calibration, most=2, rounds=1)
        assert rows[1].accepted, rows[1].why_not
        assert rows[1].sha256 == sha256_file(directory / INT8_FILE)
        return rows[1].sha256

    first = built(1)
    assert built(2) == first
    (directory / INT8_FILE).unlink()
    assert built(2) != first
    (directory / INT8_FILE).write_bytes(b"damaged")
    assert built(1) == first


def test_what_loses_accuracy_is_refused_and_removed(own: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "MAX_AUROC_LOSS", -1.0)
    monkeypatch.setattr(variants, "available", lambda: [Variant.FP32, Variant.INT8])
    monkeypatch.setattr(variants, "fastest", lambda _: "fp32")
    rows = build_variants(own / "classifier" / "1", data.pictures, calibration=2, most=2, rounds=1)
    assert not rows[1].accepted
    assert "AUROC clean falls by" in rows[1].why_not
    assert not (own / "classifier" / "1" / INT8_FILE).exists()


def test_the_fastest_accepted_is_chosen() -> None:
    def row(variant: str, milliseconds: float, accepted: bool) -> VariantMeasurement:
        return VariantMeasurement(
            variant=variant,
            bytes=1,
            sha256="",
            ms_per_crop={"b1c1": milliseconds},
            speed_up={},
            auroc={},
            balanced_accuracy={},
            largest_difference=0.0,
            accepted=accepted,
            why_not="",
        )

    assert fastest([row("fp32", 9, True), row("int8", 2, False), row("openvino-bf16", 6, True)]) == "openvino-bf16"


def test_a_missing_file_says_how_to_make_it(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="veriphoto export --variants"):
        open_variant(Variant.INT8, own / "classifier" / "1")
    with pytest.raises(DataError, match="no picture to calibrate"):
        quantize_int8(own / "classifier" / "1" / "model.onnx", tmp_path / "x", [])


needs_openvino = pytest.mark.skipif(
    not importlib.util.find_spec("openvino"), reason=".venv/bin/pip install -e '.[openvino]'"
)

SCORE = """
import sys
from pathlib import Path
import numpy as np
from veriphoto.variants import Variant
from veriphoto_export.runners import open_variant
run = open_variant(Variant.OPENVINO_INT8, Path(sys.argv[1]))
print(*(float(run(crops[np.newaxis])[0]) for crops in np.load(sys.argv[2])))
"""


@needs_openvino
def test_int8_scores_the_same_without_vnni(published: Path, crops: np.ndarray, tmp_path: Path) -> None:
    """The same CPU, told to use AVX2 alone: with full-range weights its 16-bit sums would saturate."""
    quantize_int8(published / "classifier" / "1" / "model.onnx", tmp_path / INT8_FILE, [crops[:1]])
    np.save(tmp_path / "crops.npy", crops[:4])
    scores = []
    for instructions in ("DEFAULT", "AVX2"):
        answer = subprocess.run(
            [sys.executable, "-c", SCORE, str(tmp_path), str(tmp_path / "crops.npy")],
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
            capture_output=True,
            text=True,
            check=True,
        )
        scores.append([float(each) for each in answer.stdout.split()])
    np.testing.assert_allclose(*scores, atol=1e-4)


@needs_openvino
def test_openvino_scores_as_onnx_runtime(own: Path, crops: np.ndarray) -> None:
    directory = own / "classifier" / "1"
    one, other = (open_variant(each, directory)(crops[:1]) for each in (Variant.FP32, Variant.OPENVINO_FP32))
    assert np.abs(one - other).max() < 1e-4
