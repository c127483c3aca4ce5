"""The embedded classifier runs the variant that VERIPHOTO_VARIANT names, and none that was not accepted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from toy_model import SAMPLES, copy_repository, publish_toy
from triton_stand_in import Request, Tensor, TritonModelException

from veriphoto.contract import CROPS, LOGIT
from veriphoto.manifest import read_manifest, sha256_file
from veriphoto.preprocessing import preprocess
from veriphoto.variants import VARIANT_INFO, VARIANTS_FILE, cpu_kind

CROPS_OF_ONE = preprocess(SAMPLES[0].read_bytes()).crops[np.newaxis]


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """Version 1, whose INT8 file is another toy's graph: scores tell which of them ran."""
    repository = copy_repository(tmp_path / "repository")
    other = publish_toy(repository, 2)
    directory = publish_toy(repository, 1)
    (directory / "model.int8.onnx").write_bytes((other / "model.onnx").read_bytes())
    write(directory)
    return directory


def write(directory: Path, **changes: object) -> None:
    row = {
        "variant": "int8",
        "accepted": True,
        "sha256": sha256_file(directory / "model.int8.onnx"),
        "ms_per_crop": {"b1c1": 5.0},
    }
    body = {
        "onnx_sha256": read_manifest(directory).onnx_sha256,
        "cpu_kind": cpu_kind(),
        "rows": [{**row, **changes.pop("row", {})}],  # type: ignore[dict-item]
        **changes,
    }
    (directory / VARIANTS_FILE).write_text(json.dumps(body))


def logit(load_model, version: Path) -> float:
    model = load_model(version / "model.py").TritonPythonModel()
    model.initialize({"model_repository": str(version.parent), "model_version": version.name})
    [response] = model.execute([Request([Tensor(CROPS, CROPS_OF_ONE)])])
    return float(response.arrays()[LOGIT][0, 0])


def test_each_name_runs_what_it_names(version: Path, load_model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERIPHOTO_VARIANT", raising=False)
    fp32 = logit(load_model, version)
    scores = {}
    for name in ("fp32", "int8", "auto"):
        monkeypatch.setenv("VERIPHOTO_VARIANT", name)
        scores[name] = logit(load_model, version)
    assert scores["fp32"] == fp32
    assert scores["int8"] == scores["auto"] != fp32


@pytest.mark.parametrize("changes", [{"cpu_kind": "another"}, {"onnx_sha256": "of another graph"}, {"rows": "broken"}])
def test_what_was_measured_elsewhere_is_not_chosen(changes, version: Path, load_model, monkeypatch) -> None:
    fp32 = logit(load_model, version)
    write(version, **changes)
    monkeypatch.setenv("VERIPHOTO_VARIANT", "auto")
    assert logit(load_model, version) == fp32


@pytest.mark.parametrize("row", [{"accepted": False}, {"sha256": "other"}, {"variant": "other"}])
def test_what_was_not_accepted_is_not_run(row, version: Path, load_model, monkeypatch) -> None:
    write(version, row=row)
    monkeypatch.setenv("VERIPHOTO_VARIANT", "int8")
    with pytest.raises(TritonModelException, match="was not built or not accepted"):
        logit(load_model, version)


def test_the_server_says_how_a_version_runs(version: Path, load_model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERIPHOTO_VARIANT", "auto")
    module = load_model(version / "model.py")
    model = module.TritonPythonModel()
    model.initialize({"model_repository": str(version.parent), "model_version": version.name})
    [metric] = module.pb_utils.MetricFamily.made[VARIANT_INFO].alive()
    assert (metric.labels, metric.total) == ({"model_version": version.name, "variant": "int8"}, 1.0)


def test_an_unknown_name_is_refused(version: Path, load_model, monkeypatch) -> None:
    monkeypatch.setenv("VERIPHOTO_VARIANT", "fp64")
    with pytest.raises(TritonModelException, match="no variant 'fp64'"):
        logit(load_model, version)
