from __future__ import annotations

from pathlib import Path

import pytest

from veriphoto.contract import CLASSIFIER, ENSEMBLE, PREPROCESS, RECORDER, SECOND_OPINION
from veriphoto.manifest import Calibration, DriftReference, Findings, Lineage, Manifest, sha256_file
from veriphoto.verdict import OperatingPoint

FINDINGS = Findings(
    calibration=Calibration(),
    operating_point=OperatingPoint(
        model_version=3, threshold=0.5, unsure_low=0.4, unsure_high=0.6, min_side=64, max_blockiness=3
    ),
    metrics={},
    drift_reference=DriftReference(score_edges=[0.0, 1.0], score_counts=[1], quantile_levels=[], statistics={}),
    lineage=Lineage(run_id="r", recipe="product", seed=0, data_fingerprint="f" * 64, weights="none"),
)


@pytest.fixture
def model_repository(tmp_path: Path) -> Path:
    """What the self-check wants to see; its graph is none."""
    repository = tmp_path / "models"
    for name in (ENSEMBLE, PREPROCESS, CLASSIFIER, SECOND_OPINION, RECORDER):
        (repository / name / "3").mkdir(parents=True)
        (repository / name / "config.pbtxt").touch()
    for name in (PREPROCESS, SECOND_OPINION, RECORDER):
        (repository / name / "3" / "model.py").touch()
    (repository / CLASSIFIER / "configs").mkdir()
    (repository / CLASSIFIER / "configs" / "embedded.pbtxt").touch()
    version = repository / CLASSIFIER / "3"
    (version / "model.py").touch()
    (version / "model.onnx").write_bytes(b"graph")
    Manifest(
        model_version=3,
        onnx_sha256=sha256_file(version / "model.onnx"),
        evidence_bias=0.0,
        created="2026-11-24T00:00:00Z",
        findings=FINDINGS,
    ).write(version)
    return repository
