"""The embedded classifier: model.py around the version's own graph."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_model import ToyNetwork, copy_repository, publish_toy, toy_findings
from triton_stand_in import Request, Tensor, TritonError, TritonModelException

from veriphoto.contract import CONTRACT, CROPS, EVIDENCE, LOGIT, OPERATING_POINT, PROBABILITY
from veriphoto_export.parity import reference_logits

FINDINGS = toy_findings()


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_toy(copy_repository(tmp_path_factory.mktemp("models") / "repository"), 1)


def arguments(version: Path) -> dict[str, str]:
    return {"model_repository": str(version.parent), "model_version": version.name}


@pytest.fixture
def classifier(load_model, version: Path):
    model = load_model(version / "model.py").TritonPythonModel()
    model.initialize(arguments(version))
    return model


def noise(count: int, seed: int = 0) -> np.ndarray:
    shape = (count, CONTRACT.crops, CONTRACT.crop_size, CONTRACT.crop_size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_every_request_gets_its_own_scores(classifier) -> None:
    batches = [noise(1), noise(3, seed=1)]
    responses = classifier.execute([Request([Tensor(CROPS, crops)]) for crops in batches])
    for crops, response in zip(batches, responses, strict=True):
        arrays = response.arrays()
        assert set(arrays) == {PROBABILITY, LOGIT, EVIDENCE, OPERATING_POINT}
        expected = reference_logits(ToyNetwork(seed=1), crops, FINDINGS.calibration)
        np.testing.assert_allclose(arrays[LOGIT][:, 0], expected, atol=1e-5)
        assert arrays[EVIDENCE].shape == (len(crops), CONTRACT.crops, CONTRACT.grid, CONTRACT.grid)
        assert arrays[OPERATING_POINT][:, 0].tolist() == [1.0] * len(crops)


def test_a_request_that_fails_fails_alone(classifier, pb_utils) -> None:
    wrong = Tensor(CROPS, np.zeros((1, 2, 3), dtype=np.uint8))
    bad, good = classifier.execute([Request([wrong]), Request([Tensor(CROPS, noise(1))])])
    assert bad.error.code() == TritonError.INTERNAL
    assert bad.error.message() == "internal error in classifier; see the server's log"
    assert good.error is None
    assert len(pb_utils.Logger.lines) == 1


def test_another_graph_than_the_manifests_is_refused(version: Path, load_model, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(version, copy)
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"\0")
    model = load_model(copy / "model.py").TritonPythonModel()
    with pytest.raises(TritonModelException, match=r"\[checksum_mismatch\]"):
        model.initialize(arguments(copy))


def test_a_version_without_manifest_is_refused(version: Path, load_model, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(version, copy)
    (copy / "manifest.json").unlink()
    model = load_model(copy / "model.py").TritonPythonModel()
    with pytest.raises(TritonModelException, match=r"\[manifest_invalid\]"):
        model.initialize(arguments(copy))
