"""What was made fast must say what the plain way says: crops, statistics, scores, verdicts, on every kind of file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from benchmarks.reference import SAVES, SIDES, all_kinds, reference
from toy_model import REPOSITORY, SAMPLES

from veriphoto.contract import CLASSIFIER, CONTRACT, CROPS, PROBABILITY
from veriphoto.manifest import ONNX_FILE, latest_version
from veriphoto.preprocessing import preprocess
from veriphoto.verdict import decide
from veriphoto_client import Detector
from veriphoto_serving.triton.launcher import TritonServer

TOLERANCE = 0.005
KINDS = list(all_kinds([Path(path) for path in SAMPLES] * 8))


def test_the_kinds_cover_all_sizes_formats_and_orientations() -> None:
    text = "\n".join(name for name, _ in KINDS)
    assert all(f"{kind} {mode} {options}" in text for kind, mode, options in SAVES)
    assert all(f"orientation {number}" in text for number in range(1, 9))
    longest = {max(map(int, name.partition("(")[2].partition(")")[0].split(","))) for name, _ in KINDS if "(" in name}
    assert longest >= {side for number, side in enumerate(SIDES) if side and number % 5}


@pytest.mark.parametrize(("name", "data"), KINDS, ids=[name for name, _ in KINDS])
def test_crops_and_statistics_are_those_of_the_plain_way(name: str, data: bytes) -> None:
    crops, statistics = reference(data)
    fast = preprocess(data)
    np.testing.assert_array_equal(fast.crops, crops)
    expected = [statistics[key] for key in CONTRACT.statistics]
    np.testing.assert_allclose(fast.statistics, expected, rtol=2e-5, atol=1e-4)


def test_served_scores_and_verdicts_are_those_of_the_plain_way(triton: TritonServer) -> None:
    path = latest_version(REPOSITORY / CLASSIFIER) / ONNX_FILE
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with Detector(f"grpc://{triton.grpc_url}") as detector:
        for name, data in KINDS[::4]:
            crops, statistics = reference(data)
            probability = float(session.run([PROBABILITY], {CROPS: crops[None]})[0].item())
            detection = detector.predict(data)
            served = detection.second_opinion.first_probability  # the plain way asks nobody else
            assert abs(served - probability) <= TOLERANCE, name
            point = detection.operating_point
            if (
                min(abs(probability - each) for each in (point.threshold, point.unsure_low, point.unsure_high))
                > TOLERANCE
            ):
                assert decide(probability, statistics, point).verdict == decide(served, statistics, point).verdict, name
