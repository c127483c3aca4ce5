"""The recorder's model.py and its metrics, against a stand-in of Triton's module."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from toy_model import REPOSITORY
from triton_stand_in import Metric, Request, Tensor

from veriphoto.contract import CONTRACT, EVIDENCE, LOGIT, OPERATING_POINT, OPINIONS, PROBABILITY, STATISTICS
from veriphoto.prediction_log.metrics import (
    DROPPED,
    HISTOGRAMS,
    IMAGE_FORMATS,
    LINES,
    SECOND_OPINIONS,
    VERDICTS,
    VERSIONS,
    Meter,
)
from veriphoto.prediction_log.record import SEGMENT_GLOB, Record
from veriphoto.prediction_log.recorder import LOG_VARIABLE, make_record

MEASURED = (1024.0, 768.0, 150_000.0, 2.0, 0.0, 120.5, 40.25, 30.0, 0.5, 1.125)
NOTHING = {"written": 0, "full": 0, "invalid": 0}


def point(version: int = 1) -> tuple[float, ...]:
    return (version, 0.5, 0.4, 0.6, 96.0, 2.5)


def answer(request_id: str, *probabilities: float) -> Request:
    rows = len(probabilities)
    column = np.float32(probabilities)[:, np.newaxis]
    arrays = {
        PROBABILITY: column,
        LOGIT: np.log(column / (1 - column)),
        EVIDENCE: np.zeros((rows, CONTRACT.crops, CONTRACT.grid, CONTRACT.grid), np.float32),
        STATISTICS: np.float32([MEASURED] * rows),
        OPERATING_POINT: np.float32([point()] * rows),
        OPINIONS: np.float32([[1.0, -0.5, 0.5, 2.0, 0.1]] * rows),
    }
    return Request([Tensor(name, array) for name, array in arrays.items()], request_id)


@pytest.fixture
def recorder(load_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "log"))
    model = load_model(REPOSITORY / "recorder" / "1" / "model.py").TritonPythonModel()
    model.initialize({})
    return model


def test_tensors_pass_as_they_are_and_leave_lines(recorder, tmp_path: Path) -> None:
    requests = [answer("a" * 32, 0.1), answer("b" * 32, 0.2, 0.9)]
    responses = recorder.execute(requests)
    recorder.finalize()
    for request, response in zip(requests, responses, strict=True):
        assert response.error is None
        passed = {tensor.name(): tensor for tensor in response.output_tensors}
        assert passed == {tensor.name(): tensor for tensor in request.tensors}
    [segment] = (tmp_path / "log").glob(SEGMENT_GLOB)
    found = [Record.from_line(line) for line in segment.read_bytes().splitlines()]
    assert [each.request_id for each in found] == ["a" * 32, f"{'b' * 32}#0", f"{'b' * 32}#1"]
    assert [each.probability for each in found] == pytest.approx([0.1, 0.2, 0.9])


def test_where_nobody_is_asked_it_says_so(recorder, tmp_path: Path) -> None:
    """As the step that would have asked does: the classifier's answer and its own threshold, and no share."""
    whole = answer("a" * 32, 0.2, 0.9)
    lacking = Request([tensor for tensor in whole.tensors if tensor.name() != OPINIONS], "a" * 32)
    [response] = recorder.execute([lacking])
    recorder.finalize()
    found = response.arrays()
    logits = found[LOGIT][:, 0].tolist()
    assert found[OPINIONS].dtype == np.float32
    assert found[OPINIONS].tolist() == [[0.0, logit, 0.5, 0.0, -1.0] for logit in logits]
    [segment] = (tmp_path / "log").glob(SEGMENT_GLOB)
    lines = [Record.from_line(line) for line in segment.read_bytes().splitlines()]
    assert [(each.asked, each.first_logit) for each in lines] == [
        (False, pytest.approx(logit, rel=1e-5)) for logit in logits
    ]


def test_an_answer_that_makes_no_sense_goes_out_all_the_same(recorder) -> None:
    broken = answer("", float("nan"))
    [response] = recorder.execute([broken])
    recorder.finalize()
    assert response.error is None
    assert np.isnan(response.arrays()[PROBABILITY]).all()


def families(pb_utils: ModuleType) -> dict[str, Any]:
    return pb_utils.MetricFamily.made


def by_labels(family: Any) -> dict[tuple[str, ...], Metric]:
    return {tuple(sorted(metric.labels.values())): metric for metric in family.alive()}


def record(version: int = 1, request_id: str = "", probability: float = 0.9) -> Record:
    return make_record(request_id, 2.0, probability, MEASURED, point(version), (1.0, -0.5, 0.5, 2.0, 0.1))


def test_everything_of_a_record_is_observed(pb_utils: ModuleType) -> None:
    meter = Meter(pb_utils.MetricFamily)
    assert meter.observe([record(), record(probability=0.1)], NOTHING) == 2
    made = families(pb_utils)
    assert set(made) == {name for name, _, _ in HISTOGRAMS.values()} | {
        VERDICTS,
        IMAGE_FORMATS,
        SECOND_OPINIONS,
        LINES,
        DROPPED,
    }
    assert set(HISTOGRAMS) == {"probability", "logit", *CONTRACT.statistics} - {"format"}
    assert by_labels(made["veriphoto_image_probability"])[("1",)].observed == [0.9, 0.1]
    assert by_labels(made["veriphoto_image_height_pixels"])[("1",)].observed == [768.0] * 2
    assert {key: metric.total for key, metric in by_labels(made[VERDICTS]).items()} == {
        ("1", "ai_generated"): 1,
        ("1", "real"): 1,
        ("1", "unsure"): 0,
    }
    assert by_labels(made[IMAGE_FORMATS])["1", "webp"].total == 2


def test_probes_are_no_traffic(pb_utils: ModuleType) -> None:
    meter = Meter(pb_utils.MetricFamily)
    assert meter.observe([record(request_id="probe-watchdog")], NOTHING) == 1
    assert families(pb_utils)[VERDICTS].alive() == []


def test_lines_are_counted_once(pb_utils: ModuleType) -> None:
    meter = Meter(pb_utils.MetricFamily)
    for written in (3, 3, 5):
        meter.observe([], {"written": written, "full": written - 3, "invalid": 0})
    [lines] = families(pb_utils)[LINES].alive()
    assert lines.total == 5
    dropped = {key: metric.total for key, metric in by_labels(families(pb_utils)[DROPPED]).items()}
    assert dropped == {("full",): 2, ("invalid",): 0}


def test_series_are_bounded(pb_utils: ModuleType) -> None:
    """The newest versions keep theirs; an old one that still answers does not come back."""
    meter = Meter(pb_utils.MetricFamily)
    meter.observe([record(version) for version in (1, 2, 3, 4, 5, 4, 1)], NOTHING)
    kept = {metric.labels["model_version"] for metric in families(pb_utils)[VERDICTS].alive()}
    assert kept == {"3", "4", "5"}
    assert len(kept) == VERSIONS
    assert by_labels(families(pb_utils)["veriphoto_image_logit"])[("4",)].observed == [2.0, 2.0]
