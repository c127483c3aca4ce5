from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from veriphoto.contract import CONTRACT
from veriphoto.errors import ChecksumError, UsageError
from veriphoto.manifest import read_manifest
from veriphoto.preprocessing import preprocess
from veriphoto_training.network.model import build_network, forward, normalise
from veriphoto_training.network.published import describe_published, is_published, measure_norms
from veriphoto_training.network.weights import load_weights

ROOT = Path(__file__).resolve().parents[4]
SHIPPED = ROOT / "model_repository" / "classifier" / "1"


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    photos = sorted((ROOT / "samples").glob("*.jpg"))[:6]
    return np.stack([preprocess(photo.read_bytes()).crops for photo in photos])


def raw_logits(network: torch.nn.Module, crops: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        logits = forward(network.eval(), normalise(torch.from_numpy(crops).flatten(0, 1))).logits
    return logits.reshape(len(crops), CONTRACT.crops).mean(1).numpy()


def test_a_published_version_is_the_same_network_again(crops: np.ndarray) -> None:
    network = build_network()
    load_weights(str(SHIPPED), network)
    before = raw_logits(network, crops)
    session = onnxruntime.InferenceSession(str(SHIPPED / "model.onnx"), providers=["CPUExecutionProvider"])
    (served,) = session.run(["LOGIT"], {"CROPS": crops})
    calibration = read_manifest(SHIPPED).findings.calibration
    assert np.allclose(before / calibration.temperature + calibration.bias, served[:, 0], atol=1e-3)

    seen = normalise(torch.from_numpy(crops).flatten(0, 1))
    measure_norms(network, seen)
    assert np.allclose(raw_logits(network, crops), before, atol=1e-3)
    with torch.inference_mode():
        learning = forward(network.train(), seen).logits.reshape(len(crops), -1).mean(1).numpy()
    # Trained on, its batch norms see in the batch what they were given: it starts from what it knows.
    assert np.corrcoef(learning, before)[0, 1] > 0.9


def test_it_says_where_it_comes_from(tmp_path: Path) -> None:
    assert is_published(str(SHIPPED))
    assert not is_published(str(tmp_path))
    assert str(ROOT) not in describe_published(str(SHIPPED))
    assert read_manifest(SHIPPED).findings.lineage.run_id in describe_published(str(SHIPPED))


def test_the_classifiers_folder_is_its_newest_version() -> None:
    newest = max(int(path.parent.name) for path in SHIPPED.parent.glob("[0-9]*/model.onnx"))
    assert is_published(str(SHIPPED.parent))
    assert describe_published(str(SHIPPED.parent)) == describe_published(str(SHIPPED.parent / str(newest)))
    first, second = build_network(), build_network()
    load_weights(str(SHIPPED.parent), first)
    load_weights(str(SHIPPED.parent / str(newest)), second)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_changed_graph_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "1")
    with (tmp_path / "1" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ChecksumError, match="not the file"):
        load_weights(str(tmp_path / "1"), build_network())


def test_a_graph_of_another_network_is_refused() -> None:
    with pytest.raises(UsageError, match="veriphoto export"):
        load_weights(str(SHIPPED), torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)))
