"""Benchmarks that somebody repeats by hand: that they still fit the code which they measure."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from benchmarks.incident import EVALUATION, traffic
from benchmarks.queueing import Outcome
from benchmarks.rounds import Measured
from benchmarks.tuning import compared

from veriphoto.contract import CLASSIFIER
from veriphoto.manifest import latest_version
from veriphoto.prediction_log.record import SEGMENT_GLOB, Record

ROOT = Path(__file__).parents[3]


def test_the_incident_s_traffic_is_a_prediction_log(tmp_path: Path) -> None:
    real, ai = (ROOT / "samples" / name for name in ("real_aubergines.jpg", "ai_peaches.jpg"))
    (tmp_path / EVALUATION).mkdir()
    with (tmp_path / EVALUATION / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), (real, "real"), (ai, "ai")])
    traffic(tmp_path, ROOT / "model_repository", tmp_path / "log", begin=1e9, count=20)
    (segment,) = (tmp_path / "log").glob(SEGMENT_GLOB)
    records = [Record.from_line(line) for line in segment.read_text().splitlines()]
    assert len(records) == 20
    assert {record.model_version for record in records} == {
        int(latest_version(ROOT / "model_repository" / CLASSIFIER).name)
    }
    assert all(not record.asked and record.first_logit == pytest.approx(record.logit) for record in records)


def test_a_change_of_the_configuration_is_shown_beside_the_repository_as_it_is() -> None:
    blocks = {"as it is": [{"images_per_s": 10.0, "p50_ms": 50.0}], "one classifier": [{"images_per_s": 8.0}]}
    plain, changed = compared(Measured(blocks))
    assert "ratio" not in plain
    assert plain["p50_ms"] == 50.0
    assert changed["ratio"] == "0.800 (0.800 to 0.800)"


def test_a_time_in_which_everybody_was_refused_has_no_latency() -> None:
    assert Outcome(refused=[1.0, 2.0]).row() == {"requests": 2, "refused_share": 1.0, "failed_share": 0.0}
