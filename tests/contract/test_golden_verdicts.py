"""The shipped model answers on the samples as it did when it was shipped."""

from __future__ import annotations

import json

import pytest
from golden import GOLDEN, score_samples

TOLERANCE = 1e-3
"""In probability: CPUs sum in different orders."""


def test_the_samples_get_their_golden_verdicts() -> None:
    golden, found = json.loads(GOLDEN.read_text(encoding="utf-8")), score_samples()
    assert found["onnx_sha256"] == golden["onnx_sha256"], (
        "a new model: run `python tests/golden.py`, read the difference"
    )
    assert found["verdicts"].keys() == golden["verdicts"].keys()
    for name, expected in golden["verdicts"].items():
        verdict = found["verdicts"][name]
        assert verdict == {**expected, "probability": pytest.approx(expected["probability"], abs=TOLERANCE)}, name
