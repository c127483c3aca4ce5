"""A manifest is believed only when everything about it fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from veriphoto import errors
from veriphoto.manifest import (
    Calibration,
    DriftReference,
    Findings,
    Lineage,
    Manifest,
    latest_version,
    read_manifest,
    sha256_file,
    verify_onnx,
)
from veriphoto.verdict import OperatingPoint

POINT = OperatingPoint(model_version=0, threshold=0.5, unsure_low=0.4, unsure_high=0.6, min_side=64, max_blockiness=3)
FINDINGS = Findings(
    calibration=Calibration(temperature=1.5, bias=-0.2),
    operating_point=POINT,
    metrics={"auroc": 0.9},
    drift_reference=DriftReference(
        score_edges=[0.0, 0.5, 1.0], score_counts=[3, 1], quantile_levels=[0.5], statistics={"width": [640.0]}
    ),
    lineage=Lineage(run_id="r", recipe="product", seed=0, data_fingerprint="f" * 64, weights="none"),
)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    directory = tmp_path / "classifier" / "2"
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(b"graph")
    Manifest(
        model_version=2,
        onnx_sha256=sha256_file(directory / "model.onnx"),
        evidence_bias=0.1,
        created="2026-11-24T00:00:00Z",
        findings=replace(FINDINGS, operating_point=replace(POINT, model_version=2)),
    ).write(directory)
    return directory


def test_a_manifest_of_schema_1_is_read(version: Path) -> None:
    path = version / "manifest.json"
    body = json.loads(path.read_text())
    body["schema"] = 1
    for name in ("counts", "moments"):
        del body["findings"]["drift_reference"][name]
    path.write_text(json.dumps(body))
    assert read_manifest(version).findings.drift_reference == FINDINGS.drift_reference


def test_other_verdicts_leave_the_rest_of_the_drift_reference() -> None:
    found = replace(FINDINGS.drift_reference, counts={"verdict": {"real": 4}, "format": {"jpeg": 4}})
    assert found.without_verdicts() == replace(found, counts={"format": {"jpeg": 4}})


def test_it_survives_the_file(version: Path, tmp_path: Path) -> None:
    manifest = read_manifest(version)
    assert manifest.model_version == 2
    assert manifest.findings.calibration == FINDINGS.calibration
    verify_onnx(version, manifest)
    FINDINGS.write(tmp_path / "findings.json")
    assert Findings.read(tmp_path / "findings.json") == FINDINGS


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            body = body[name]
        if value is None:
            del body[last]
        else:
            body[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (_set("contract.crop_size", 256), errors.ContractMismatchError, "crop_size is 256, the code says 224"),
        (_set("contract", None), errors.ContractMismatchError, "export the model again"),
        (_set("schema", 99), errors.ManifestError, "schema 99"),
        (_set("onnx_sha256", None), errors.ManifestError, "lacks a value"),
        (_set("findings", None), errors.ManifestError, "findings"),
        (_set("findings.calibration.heat", 1), errors.ManifestError, "heat"),
        (_set("findings.operating_point.threshold", 0.9), errors.ManifestError, "unsure_low <= threshold"),
        (_set("model_version", 3), errors.ManifestError, "publish it anew"),
        (_set("findings.operating_point.model_version", 1), errors.ManifestError, "publish it anew"),
    ],
)
def test_what_does_not_fit_is_refused(
    version: Path, change: Callable[[dict[str, Any]], None], error: type[Exception], says: str
) -> None:
    path = version / "manifest.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    with pytest.raises(error, match=says):
        read_manifest(version)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_what_is_no_manifest_is_refused(version: Path, text: str) -> None:
    (version / "manifest.json").write_text(text)
    with pytest.raises(errors.ManifestError):
        read_manifest(version)


def test_a_missing_manifest_and_a_changed_graph(version: Path) -> None:
    manifest = read_manifest(version)
    (version / "model.onnx").write_bytes(b"another")
    with pytest.raises(errors.ChecksumError, match="not the file"):
        verify_onnx(version, manifest)
    (version / "model.onnx").unlink()
    with pytest.raises(errors.ChecksumError, match="missing"):
        verify_onnx(version, manifest)
    (version / "manifest.json").unlink()
    with pytest.raises(errors.ManifestError, match="missing"):
        read_manifest(version)


def test_the_latest_version_is_the_highest_number(version: Path) -> None:
    model = version.parent
    (model / "10").mkdir()
    (model / "configs").mkdir()
    assert latest_version(model).name == "10"
    with pytest.raises(errors.ManifestError, match="no version"):
        latest_version(model / "configs")
