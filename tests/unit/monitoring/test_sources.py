"""Which reference fits the scores of a server with these files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_encoder import IDENTITY, POINT, toy_opinion

from veriphoto.manifest import Calibration, DriftReference, Findings, Lineage, Manifest
from veriphoto.second_opinion import ENCODER_FILE, MODE_VARIABLE, Encoder
from veriphoto_monitoring.reference.sources import Sources

ALONE, JOINT = 1000, 500
ENCODER = Encoder(name="toy", identity=IDENTITY, features=2, square=0, source="made here", licence="Apache-2.0")


def answers(images: int) -> DriftReference:
    """Tells the two references apart by the number of their pictures."""
    levels = np.linspace(0.0, 1.0, 11).tolist()
    return DriftReference(
        score_edges=[0.0, 0.5, 1.0],
        score_counts=[images // 2, images // 2],
        quantile_levels=levels,
        statistics={"width": np.linspace(100.0, 900.0, 11).tolist()},
    )


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository without an encoder, whose version has a second opinion."""
    monkeypatch.delenv(MODE_VARIABLE, raising=False)
    (tmp_path / "encoder" / "1").mkdir(parents=True)
    version = tmp_path / "classifier" / "4"
    version.mkdir(parents=True)
    findings = Findings(
        calibration=Calibration(),
        operating_point=replace(POINT, model_version=4),
        metrics={},
        drift_reference=answers(ALONE),
        lineage=Lineage(run_id="r", recipe="product", seed=0, data_fingerprint="f" * 64, weights="none"),
    )
    Manifest(model_version=4, onnx_sha256="0" * 64, evidence_bias=0.0, created="", findings=findings).write(version)
    replace(toy_opinion(), drift_reference=answers(JOINT)).write(version)
    return tmp_path


def images(sources: Sources) -> int:
    found = sources.reference(4)
    return found.images if found else 0


def test_an_encoder_and_a_fit_that_come_later_are_noticed(models: Path) -> None:
    sources = Sources(models / "baseline.json", models)
    assert images(sources) == ALONE
    assert not sources.changed()
    ENCODER.write(models / "encoder" / "1")
    assert sources.changed()
    assert images(sources) == JOINT
    replace(toy_opinion(), drift_reference=answers(JOINT * 10)).write(models / "classifier" / "4")
    assert sources.changed()
    assert images(sources) == JOINT * 10


@pytest.mark.parametrize("case", ["another encoder", "another width", "a broken encoder", "a graph that is gone"])
def test_what_the_server_does_not_ask_is_no_reference(models: Path, case: str) -> None:
    encoder = {
        "another encoder": replace(ENCODER, identity="0" * 64),
        "another width": replace(ENCODER, features=3),
        "a graph that is gone": replace(ENCODER, files={"model.onnx": "0" * 64}),
    }.get(case, ENCODER)
    encoder.write(models / "encoder" / "1")
    if case == "a broken encoder":
        (models / "encoder" / "1" / ENCODER_FILE).write_text("{")
    assert images(Sources(models / "baseline.json", models)) == ALONE


def test_a_server_that_never_asks_has_the_classifiers_reference(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ENCODER.write(models / "encoder" / "1")
    monkeypatch.setenv(MODE_VARIABLE, "off")
    assert images(Sources(models / "baseline.json", models)) == ALONE
