"""Requests and answers as values."""

from __future__ import annotations

import numpy as np
import pytest
from photo_corpus import picture
from tritonclient.grpc import InferInput
from tritonclient.grpc.service_pb2 import ModelInferRequest

from veriphoto.contract import (
    CONTRACT,
    ENSEMBLE,
    EVIDENCE,
    IMAGE,
    LOGIT,
    OPERATING_POINT,
    OPINIONS,
    PROBABILITY,
    STATISTICS,
)
from veriphoto.errors import ServiceError
from veriphoto.preprocessing import preprocess
from veriphoto.verdict import OperatingPoint
from veriphoto_client import FakeTransport
from veriphoto_client.sdk.answers import decode_answer, encode_answer
from veriphoto_client.sdk.probe import probe_picture
from veriphoto_client.triton.grpc import _message
from veriphoto_client.triton.transport import OUTPUT_SHAPES

POINT = OperatingPoint(model_version=7, threshold=0.5, unsure_low=0.4, unsure_high=0.6, min_side=32, max_blockiness=9)
EVIDENCE_SHAPE = (CONTRACT.crops, CONTRACT.grid, CONTRACT.grid)


def answer(probability: float = 0.9, **changes: object) -> dict[str, np.ndarray]:
    statistics = [640, 480, 1000, 0, 90, 100, 50, 50, 1, 1]
    values = {
        PROBABILITY: [probability],
        LOGIT: [2.25],
        EVIDENCE: np.arange(np.prod(EVIDENCE_SHAPE)).reshape(EVIDENCE_SHAPE),
        STATISTICS: statistics,
        OPERATING_POINT: POINT.to_tensor(),
        OPINIONS: [1.0, -0.5, 0.75, 3.0, 0.25],
        **changes,
    }
    return {name: np.array(value, dtype=np.float32)[np.newaxis] for name, value in values.items() if value is not None}


def test_an_answer_becomes_a_detection():
    detection = decode_answer(answer())
    assert detection.verdict.verdict == "ai_generated"
    assert detection.verdict.probability == pytest.approx(0.9)
    assert detection.verdict.model_version == 7
    assert detection.logit == 2.25
    assert detection.statistics["width"] == 640
    assert list(detection.statistics) == list(CONTRACT.statistics)
    assert detection.evidence.shape == EVIDENCE_SHAPE
    assert detection.evidence[0, 0, 1] == 1
    assert detection.second_opinion.asked
    assert (detection.second_opinion.first_logit, detection.second_opinion.second_logit) == (-0.5, 3.0)
    assert detection.real_share == 0.25


def test_what_a_version_does_not_know_is_none():
    detection = decode_answer(answer(**{OPINIONS: [0.0, 2.25, 0.75, 0.0, -1.0]}))
    assert not detection.second_opinion.asked
    assert detection.real_share is None


@pytest.mark.parametrize("real_share", [0.25, -1.0])
def test_a_detection_takes_its_form_again_to_the_last_bit(real_share):
    tensors = answer(0.3, **{OPINIONS: [1.0, -0.1, 0.7, 3.3, real_share]})
    again = encode_answer(decode_answer(tensors))
    assert set(again) == set(tensors)
    assert all(np.array_equal(again[name], tensors[name]) and again[name].dtype == np.float32 for name in tensors)


@pytest.mark.parametrize(
    ("probability", "verdict"), [(0.1, "real"), (0.45, "unsure"), (0.55, "unsure"), (0.61, "ai_generated")]
)
def test_the_verdict_is_the_cores(probability, verdict):
    assert decode_answer(answer(probability)).verdict.verdict == verdict


def test_a_detection_cannot_be_changed():
    detection = decode_answer(answer())
    with pytest.raises(AttributeError):
        detection.logit = 0.0
    with pytest.raises(TypeError):
        detection.statistics["width"] = 1
    with pytest.raises(ValueError, match="read-only"):
        detection.evidence[0] = 0


def test_a_detection_as_json_is_plain():
    shown = decode_answer(answer()).to_json()
    assert shown["verdict"] == "ai_generated"
    assert shown["logit"] == 2.25
    assert shown["statistics"]["height"] == 480
    assert shown["second_opinion"] == {
        "asked": True,
        "first_probability": pytest.approx(0.37754, abs=1e-5),
        "first_logit": -0.5,
        "first_threshold": 0.75,
        "second_logit": 3.0,
    }
    assert shown["real_photos_this_high"] == 0.25
    assert "evidence" not in shown


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({EVIDENCE: None}, "EVIDENCE is missing"),
        ({STATISTICS: [1.0]}, "STATISTICS has shape"),
        ({PROBABILITY: [float("nan")]}, "PROBABILITY is not finite"),
        ({OPERATING_POINT: [1, 0.5, 0.6, 0.4, 32, 9]}, "unsure_low"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_refused(changes, what):
    with pytest.raises(ServiceError, match=what):
        decode_answer(answer(**changes))


@pytest.mark.parametrize("data", [b"", b"\0", b"photo\0\0", bytes(range(256)), bytes(3_000_000)])
def test_a_request_keeps_every_byte(data):
    """And is what tritonclient would send."""
    image = InferInput(IMAGE, [1, 1], "BYTES")
    tensor = np.empty((1, 1), dtype=np.object_)
    tensor[0, 0] = data
    image.set_data_from_numpy(tensor)
    message = ModelInferRequest.FromString(_message(data, "an-id"))

    assert message.raw_input_contents[0][4:] == data
    assert message.raw_input_contents[0] == image._get_content()
    assert message.inputs[0] == image._get_tensor()
    assert (message.model_name, message.id) == (ENSEMBLE, "an-id")
    assert {output.name for output in message.outputs} == set(OUTPUT_SHAPES)


def test_the_test_picture_is_sound():
    assert preprocess(probe_picture()).crops.shape[0] == CONTRACT.crops


def test_the_fake_answers_by_the_contract():
    assert decode_answer(FakeTransport.answer(picture())).verdict.model_version == 1
