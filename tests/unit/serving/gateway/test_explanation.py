"""The sentence under the evidence map says what the map shows and nothing against the answer."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from photo_corpus import picture
from PIL import Image

from veriphoto.verdict import Label
from veriphoto_client import Detection, Detector, FakeTransport
from veriphoto_serving.gateway.answering.explanation import explain

PHOTO = picture(1)


@pytest.fixture(scope="module")
def answer() -> Detection:
    with Detector(transport=FakeTransport()) as detector:
        return detector.predict(PHOTO)


def said(answer: Detection, verdict: Label, share_of_ai: float) -> str:
    """Explains an answer whose evidence speaks for AI generation in the left part."""
    evidence = np.full_like(answer.evidence, -1.0)
    evidence[..., : round(share_of_ai * evidence.shape[-1])] = 1.0
    threshold = {"real": 1.0, "ai_generated": 0.0, "unsure": 1.0}[verdict]
    worded = replace(answer.verdict, verdict=verdict, threshold=threshold)
    return explain(PHOTO, replace(answer, verdict=worded, evidence=evidence)).sentence


@pytest.mark.parametrize(
    ("verdict", "share_of_ai", "start"),
    [
        ("real", 0.0, "All of the examined area speaks for a camera (blue)"),
        ("ai_generated", 1.0, "All of the examined area speaks for AI generation (red)"),
        ("unsure", 0.0, "All of the examined area speaks for a camera (blue)"),
        ("unsure", 1.0, "All of the examined area speaks for AI generation (red)"),
        ("real", 1.0, "No single area speaks for a camera"),
        ("ai_generated", 0.0, "No single area speaks for AI generation"),
    ],
)
def test_where_all_speaks_for_one_side_there_is_no_rest(
    answer: Detection, verdict: Label, share_of_ai: float, start: str
) -> None:
    sentence = said(answer, verdict, share_of_ai)
    assert sentence.startswith(start)
    assert "the rest" not in sentence


@pytest.mark.parametrize("verdict", ["real", "ai_generated", "unsure"])
@pytest.mark.parametrize("share_of_ai", [0.15, 0.3, 0.6, 0.85])
def test_shares_of_two_sides_are_neither_nothing_nor_all(answer: Detection, verdict: Label, share_of_ai: float) -> None:
    sentence = said(answer, verdict, share_of_ai)
    percent = int(sentence.split("%")[0])
    assert 0 < percent < 100
    assert ("the rest" in sentence) is (verdict != "real"), "what is not coloured is not spoken of"
    if verdict == "unsure":
        assert percent >= 50


@pytest.mark.parametrize(("verdict", "share_of_ai"), [("real", 0.85), ("ai_generated", 0.15)])
def test_a_map_that_the_second_model_overrules_does_not_argue_with_the_answer(
    answer: Detection, verdict: Label, share_of_ai: float
) -> None:
    asked = replace(answer, second_opinion=replace(answer.second_opinion, asked=True))
    assert said(asked, verdict, share_of_ai).startswith("A second model decided, which draws no map")
    assert "% of the examined area" in said(asked, verdict, 1 - share_of_ai)


@pytest.mark.parametrize(("size", "whole"), [((400, 400), True), ((800, 400), False)])
def test_only_what_was_not_examined_is_said_to_be_dark(answer: Detection, size: tuple[int, int], whole: bool) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 200, 200)).save(buffer, "PNG")
    assert ("Darkened" not in explain(buffer.getvalue(), answer).sentence) is whole
