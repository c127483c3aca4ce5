from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from veriphoto.contract import CONTRACT
from veriphoto.errors import DataError
from veriphoto.manifest import Findings
from veriphoto_training.calibration.fit import calibrated, find, fit_calibration, only, operating_point
from veriphoto_training.data.dataset import Picture
from veriphoto_training.scoring.logits import Scores
from veriphoto_training.scoring.metrics import sigmoid

METADATA = {"run_id": "r", "recipe": {"name": "smoke"}, "seed": 0, "data_fingerprint": "f", "weights": "none"}


def some_scores(picture: Callable[..., Picture], shift: float = 0.0) -> Scores:
    rng = np.random.default_rng(3)
    labels = np.arange(600) % 2
    return Scores(
        pictures=tuple(picture(f"{n}", int(label)) for n, label in enumerate(labels)),
        logits=rng.normal(np.where(labels, 4.0, -6.0) + shift, 4.0),
        statistics=rng.random((600, len(CONTRACT.statistics))).astype(np.float32),
        failed={},
    )


def test_calibration_undoes_a_known_distortion() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0.0, 2.0, 60_000)
    labels = (rng.random(60_000) < sigmoid(honest)).astype(np.int64)
    fitted = fit_calibration(labels, 3.0 * (honest - 0.7))
    assert fitted.temperature == pytest.approx(3.0, rel=0.05)
    assert fitted.bias == pytest.approx(0.7, abs=0.05)


def test_logits_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(DataError, match="train longer"):
        fit_calibration(np.array([0, 1] * 50), np.array([1.0, -1.0] * 50))


def test_the_threshold_keeps_every_delivery_within_its_rate() -> None:
    rng = np.random.default_rng(1)
    product = {"clean": rng.beta(1, 8, 1000), "web": rng.beta(1, 7, 1000), "hard": rng.beta(1, 5, 1000)}
    point = operating_point([product], np.ones(10))
    alarms = {name: float((p >= point.threshold).mean()) for name, p in product.items()}
    assert alarms["clean"] <= 0.02
    assert alarms["hard"] <= 0.04
    assert point.unsure_low < point.threshold < point.unsure_high


def test_the_threshold_keeps_every_set_of_photos_within_its_rate() -> None:
    rng = np.random.default_rng(2)
    easy, hard = ({"clean": rng.beta(1, b, 1000)} for b in (9, 4))
    assert operating_point([easy, hard], np.ones(10)).threshold == operating_point([hard], np.ones(10)).threshold


def test_findings_survive_the_disk(picture: Callable[..., Picture], tmp_path: Path) -> None:
    scores = {name: some_scores(picture, shift) for name, shift in (("clean", 0.0), ("web", 0.3), ("hard", 0.6))}
    product = {name: only(part, [not p.label for p in part.pictures]) for name, part in scores.items()}
    findings = find(scores, [product], METADATA)
    findings.write(tmp_path / "findings.json")
    assert Findings.read(tmp_path / "findings.json") == findings
    assert findings.metrics["clean_ece"] < 0.06
    assert findings.metrics["clean_fpr"] <= 0.02
    reference = findings.drift_reference
    assert sum(reference.score_counts) == sum(reference.counts["verdict"].values()) == 600
    assert reference.counts["format"] == {"jpeg": 600}
    assert reference.moments["probability"][0] == pytest.approx(
        calibrated(scores["clean"].logits, findings.calibration).mean()
    )
    assert calibrated(np.array([50.0]), findings.calibration)[0] > 0.99
