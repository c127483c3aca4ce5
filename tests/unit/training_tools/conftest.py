"""A data set on disk, and a tiny published version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from tool_pictures import POINT, brightness_model

from veriphoto.contract import CONTRACT
from veriphoto.manifest import (
    ONNX_FILE,
    Calibration,
    DriftReference,
    Findings,
    Lineage,
    Manifest,
    sha256_file,
)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Writes a data set: name under real/ or ai/ to bytes."""

    def write(files: dict[str, bytes], name: str = "data") -> Path:
        root = tmp_path / name
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return root

    return write


@pytest.fixture(scope="session")
def findings() -> Findings:
    return Findings(
        calibration=Calibration(),
        operating_point=POINT,
        metrics={"auroc": 0.5},
        drift_reference=DriftReference(
            score_edges=[0.0, 1.0],
            score_counts=[1],
            quantile_levels=[0.5],
            statistics={name: [1.0] for name in CONTRACT.statistics},
        ),
        lineage=Lineage(run_id="r", recipe="product", seed=0, data_fingerprint="0" * 64, weights="none"),
    )


@pytest.fixture
def repository(tmp_path: Path, findings: Findings) -> Path:
    """A model repository whose version 1 has logit (mean brightness - 128) / 16."""
    root = tmp_path / "repository"
    version = root / "classifier" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text("# glue\n")
    onnx.save(brightness_model(), version / ONNX_FILE)
    Manifest(
        model_version=1,
        onnx_sha256=sha256_file(version / ONNX_FILE),
        evidence_bias=-8.0,
        created="2026-01-01T00:00:00+00:00",
        findings=findings,
    ).write(version)
    return root
