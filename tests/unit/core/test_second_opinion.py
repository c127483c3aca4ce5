"""The second opinion's file, its rule, and who is asked."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriphoto.contract import LOGIT, OPERATING_POINT, OPINIONS, PROBABILITY
from veriphoto.errors import ManifestError, ModelError
from veriphoto.manifest import DriftReference
from veriphoto.opinions import Opinions, fitting, open_opinions
from veriphoto.second_opinion import (
    ENCODER_FILE,
    OPINION_FILE,
    UNKNOWN_SHARE,
    Encoder,
    Hidden,
    Mode,
    Rule,
    SecondOpinion,
    read_encoder,
    read_opinion,
    sigmoid,
)
from veriphoto.verdict import OperatingPoint, decide

POINT = OperatingPoint(
    model_version=0, threshold=0.9, unsure_low=0.3, unsure_high=0.9, min_side=96.0, max_blockiness=2.0
)
RULE = Rule(ask_above=-1.0, first_weight=0.0, second_weight=2.0, bias=0.5, alone_weight=1.0, alone_bias=-1.0)
OPINION = SecondOpinion(
    encoder="abc",
    weights=(1.0, -1.0, 0.5),
    bias=0.25,
    rule=RULE,
    operating_point=POINT,
    real_levels=(1.0, 0.5, 0.02),
    real_logits=(-6.0, -3.0, 2.0),
    metrics={"clean_auroc": 0.97},
    drift_reference=DriftReference(
        score_edges=[0.0, 1.0], score_counts=[1], quantile_levels=[0.0, 1.0], statistics={"width": [1.0, 2.0]}
    ),
)
ENCODER = Encoder(name="toy", identity="abc", features=3, square=1, source="made here", licence="Apache-2.0")
STATISTICS = {"width": 500.0, "height": 500.0, "blockiness": 1.0}


def test_a_version_reads_what_it_wrote(tmp_path: Path) -> None:
    OPINION.write(tmp_path)
    assert read_opinion(tmp_path) == OPINION


def test_a_hidden_layer_adds_to_the_linear_part_and_is_kept(tmp_path: Path) -> None:
    hidden = Hidden.of(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]), np.array([0.5, 1.0]), np.array([2.0, 3.0]))
    opinion = replace(OPINION, hidden=hidden)
    opinion.write(tmp_path)
    assert read_opinion(tmp_path) == opinion
    features = np.array([1.0, 2.0, 3.0], np.float32)
    # The second unit's 1 - 3 is below 0.
    assert opinion.join(5.0, features).second_logit == pytest.approx(OPINION.join(5.0, features).second_logit + 3.0)
    assert hidden(np.stack([features, -features])).tolist() == pytest.approx([3.0, 12.0])


@pytest.mark.parametrize("change", [{"weights": "%"}, {"weights": "AAAA"}, {"biases": [0.0]}, {"output": []}])
def test_a_broken_hidden_layer_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    replace(OPINION, hidden=Hidden.of(np.zeros((2, 3)), np.zeros(2), np.zeros(2))).write(tmp_path)
    body = json.loads((tmp_path / OPINION_FILE).read_text())
    body["hidden"] |= change
    (tmp_path / OPINION_FILE).write_text(json.dumps(body))
    with pytest.raises(ManifestError, match=r"second_opinion\.json"):
        read_opinion(tmp_path)


def test_a_version_without_the_file_has_no_second_opinion(tmp_path: Path) -> None:
    assert read_opinion(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "weights": "x"}', "\0"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / OPINION_FILE).write_text(content)
    with pytest.raises(ManifestError, match=r"second_opinion\.json"):
        read_opinion(tmp_path)


def test_the_joint_logit_is_the_rule_applied_to_the_probe() -> None:
    joint = OPINION.join(5.0, np.array([1.0, 2.0, 3.0], np.float32))
    assert joint.asked
    assert joint.second_logit == pytest.approx(1.0 - 2.0 + 1.5 + 0.25)
    assert joint.logit == pytest.approx(2.0 * 0.75 + 0.5)


@pytest.mark.parametrize("first", [-30.0, -1.5, -1.0001, 40.0])
def test_what_nobody_is_asked_about_is_answered_real(first: float) -> None:
    joint = OPINION.join(first, None)
    assert not joint.asked
    assert decide(sigmoid(joint.logit), STATISTICS, POINT).verdict == "real"


@pytest.mark.parametrize(
    ("mode", "first", "asked"),
    [
        (Mode.AUTO, -1.0, True),
        (Mode.AUTO, -1.01, False),
        (Mode.ALWAYS, -20.0, True),
        (Mode.OFF, 20.0, False),
    ],
)
def test_the_mode_decides_who_is_asked_about(mode: Mode, first: float, asked: bool) -> None:
    assert OPINION.asks(first, mode) is asked


def test_the_share_of_real_photos_falls_as_scores_rise() -> None:
    shares = [OPINION.real_share(logit) for logit in (-9.0, -6.0, -4.5, -3.0, -0.5, 2.0, 9.0)]
    assert shares == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.26, 0.02, 0.02])


def test_a_point_of_a_version_is_what_float32_carries() -> None:
    point = OPINION.of_version(7).operating_point
    assert point.model_version == 7
    assert point.threshold == float(np.float32(0.9))


def test_the_sigmoid_holds_at_both_ends() -> None:
    assert sigmoid(-800.0) == 0.0
    assert sigmoid(800.0) == 1.0
    assert sigmoid(1.5) == pytest.approx(1.0 / (1.0 + math.exp(-1.5)))


class _Seen:
    """An encoder that remembers what it was shown."""

    def __init__(self) -> None:
        self.squares: list[np.ndarray] = []

    def __call__(self, squares: np.ndarray) -> np.ndarray:
        self.squares.append(squares)
        return np.array([[1.0, 2.0, 3.0]], np.float32)


def _opinions(classifier: Path, mode: Mode, seen: _Seen, encoder: Encoder = ENCODER) -> Opinions:
    return Opinions(lambda version: fitting(classifier / str(version), encoder, version), encoder, seen, mode)


def _first(logit: float, point: OperatingPoint) -> dict[str, np.ndarray]:
    values = {LOGIT: [logit], PROBABILITY: [sigmoid(logit)], OPERATING_POINT: point.to_tensor()}
    return {name: np.array([row], np.float32) for name, row in values.items()}


def test_only_its_own_square_is_shown_and_only_where_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "4").mkdir()
    OPINION.write(tmp_path / "4")
    seen, first_point = _Seen(), replace(POINT, model_version=4)
    crops = np.arange(2 * 4, dtype=np.uint8).reshape(2, 2, 2, 1)
    opinions = _opinions(tmp_path, Mode.AUTO, seen)
    unasked = opinions.joined(crops, _first(-5.0, first_point))
    asked = opinions.joined(crops, _first(5.0, first_point))
    assert [square.tolist() for square in seen.squares] == [crops[1][None].tolist()]
    assert unasked[OPINIONS][0, :4].tolist() == pytest.approx([0.0, -5.0, 0.9, 0.0])
    assert asked[OPINIONS][0].tolist() == pytest.approx([1.0, 5.0, 0.9, 0.75, 0.02])
    assert asked[LOGIT].tolist() == [[2.0]]
    assert asked[PROBABILITY].tolist() == [[pytest.approx(sigmoid(2.0))]]
    assert asked[OPERATING_POINT][0].tolist() == pytest.approx(replace(POINT, model_version=4).to_tensor())


@pytest.mark.parametrize("case", ["no file", "another encoder", "another width", "broken", "off"])
def test_an_answer_that_cannot_be_joined_stays_as_it_is(tmp_path: Path, case: str) -> None:
    (tmp_path / "4").mkdir()
    if case != "no file":
        OPINION.write(tmp_path / "4")
    if case == "broken":
        (tmp_path / "4" / OPINION_FILE).write_text("{")
    encoder = {"another encoder": replace(ENCODER, identity="xyz"), "another width": replace(ENCODER, features=4)}
    point = replace(POINT, model_version=4, threshold=0.95, unsure_high=0.95)
    opinions = _opinions(tmp_path, Mode.OFF if case == "off" else Mode.ALWAYS, _Seen(), encoder.get(case, ENCODER))
    first = _first(3.0, point)
    answer = opinions.joined(np.zeros((2, 2, 2, 1), np.uint8), first)
    assert all(answer[name] is first[name] for name in first)
    assert answer[OPINIONS][0].tolist() == pytest.approx([0.0, 3.0, 0.95, 0.0, UNKNOWN_SHARE])


def test_auto_starts_without_an_encoder_and_always_does_not(tmp_path: Path) -> None:
    point = replace(POINT, model_version=1)
    answer = open_opinions(tmp_path, Mode.AUTO).joined(np.zeros((2, 2, 2, 1), np.uint8), _first(9.0, point))
    assert answer[OPINIONS][0, 0] == 0.0
    with pytest.raises(ModelError, match="make encoder"):
        open_opinions(tmp_path, Mode.ALWAYS)


@pytest.mark.parametrize("case", ["none", "a broken encoder", "a broken opinion", "an opinion for another encoder"])
def test_what_cannot_be_used_is_told_and_what_is_not_there_is_not(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    encoder, version = tmp_path / "encoder" / "1", tmp_path / "classifier" / "1"
    for directory in (encoder, version):
        directory.mkdir(parents=True)
    if case != "none":
        ENCODER.write(encoder)
        replace(OPINION, encoder="another").write(version)
    broken = {"a broken encoder": encoder / ENCODER_FILE, "a broken opinion": version / OPINION_FILE}.get(case)
    if broken:
        broken.write_text("{")
    opinions = open_opinions(tmp_path, Mode.AUTO, _Seen())
    for _ in range(2):
        opinions.joined(np.zeros((2, 2, 2, 1), np.uint8), _first(9.0, replace(POINT, model_version=1)))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (case != "none"), told
    subject = broken or f"that of {version} was fitted for another encoder"
    assert all(one.startswith(f"the second opinion is not used: {subject}") for one in told)


def test_an_encoder_whose_graph_is_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    replace(ENCODER, files={"model.onnx": "0" * 64}).write(tmp_path)
    with pytest.raises(ManifestError, match="make encoder"):
        read_encoder(tmp_path)
    (tmp_path / ENCODER_FILE).write_text(json.dumps({"name": "half"}))
    with pytest.raises(ManifestError, match=r"encoder\.json"):
        read_encoder(tmp_path)
