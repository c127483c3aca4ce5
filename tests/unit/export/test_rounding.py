"""Weights that are rounded for their outputs, against each rounded by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from veriphoto.contract import CROPS, LOGIT
from veriphoto.preprocessing import preprocess
from veriphoto_export import quantize
from veriphoto_export.quantize import quantize_int8, weights_fit
from veriphoto_export.rounding import round_together

LIMIT = 64
ROOT = Path(__file__).parents[3]
REPOSITORY = ROOT / "model_repository"
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix != ".csv")


def _drawn(seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs that go together, as channels of a network do, with a mean that is not zero; weights, and their scales."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(2000, 6)) @ random.normal(size=(6, 40)) + 0.1 * random.normal(size=(2000, 40)) + 0.5
    weight = random.normal(size=(24, 40)).astype(np.float32)
    return inputs, weight, (np.abs(weight).max(axis=1) / LIMIT).astype(np.float32)


def test_outputs_stay_nearer_than_with_each_weight_rounded_by_itself() -> None:
    inputs, weight, scale = _drawn()
    rounded = round_together(weight, scale, inputs.T @ inputs / len(inputs), LIMIT)
    assert rounded.dtype == np.int8
    assert np.abs(rounded.astype(np.int16)).max() <= LIMIT
    alone = np.rint(weight / scale[:, None])

    def error(steps: np.ndarray) -> float:
        return float(np.square(inputs @ (steps * scale[:, None] - weight).T).mean())

    assert error(rounded) < 0.25 * error(alone)


def test_inputs_that_never_vary_change_nothing_for_the_others() -> None:
    inputs, weight, scale = _drawn()
    inputs[:, :3] = 0.0
    rounded = round_together(weight, scale, inputs.T @ inputs / len(inputs), LIMIT)
    alone = round_together(weight[:, 3:], scale, inputs[:, 3:].T @ inputs[:, 3:] / len(inputs), LIMIT)
    assert (rounded[:, 3:] == alone).mean() > 0.95


def test_the_shipped_network_scores_nearer_to_itself_in_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = REPOSITORY / "classifier" / "2" / "model.onnx"
    pictures = [preprocess(sample.read_bytes()).crops[np.newaxis] for sample in SAMPLES]
    quantize_int8(source, tmp_path / "together.onnx", pictures)
    monkeypatch.setattr(quantize, "round_weights", lambda *_: None)
    quantize_int8(source, tmp_path / "alone.onnx", pictures)
    assert weights_fit(onnx.load(tmp_path / "together.onnx"))
    exact, together, alone = (
        _logits(file, pictures) for file in (source, tmp_path / "together.onnx", tmp_path / "alone.onnx")
    )
    assert np.abs(together - exact).mean() < 0.5 * np.abs(alone - exact).mean()


def _logits(graph: Path, pictures: list[np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.array([session.run([LOGIT], {CROPS: each})[0][0, 0] for each in pictures])
