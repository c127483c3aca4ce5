"""The verdicts of the shipped model on the samples: ``python tests/golden.py`` writes them after a new model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from toy_model import REPOSITORY, SAMPLES

from veriphoto.contract import CLASSIFIER, CONTRACT, CROPS, OPERATING_POINT, PROBABILITY
from veriphoto.manifest import ONNX_FILE, latest_version, read_manifest
from veriphoto.preprocessing import preprocess
from veriphoto.verdict import OperatingPoint, decide

GOLDEN = Path(__file__).parent / "contract" / "golden_verdicts.json"


def score_samples() -> dict[str, Any]:
    """Scores the samples with core and ONNX Runtime alone, as the file holds them."""
    version = latest_version(REPOSITORY / CLASSIFIER)
    session = onnxruntime.InferenceSession(version / ONNX_FILE, providers=["CPUExecutionProvider"])
    verdicts = {}
    for path in SAMPLES:
        prepared = preprocess(path.read_bytes())
        probability, point = session.run([PROBABILITY, OPERATING_POINT], {CROPS: prepared.crops[np.newaxis]})
        statistics = dict(zip(CONTRACT.statistics, map(float, prepared.statistics), strict=True))
        verdict = decide(float(probability[0, 0]), statistics, OperatingPoint.from_tensor(point[0].tolist()))
        verdicts[path.name] = {**verdict.to_json(), "probability": round(verdict.probability, 5)}
    return {"onnx_sha256": read_manifest(version).onnx_sha256, "verdicts": verdicts}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(score_samples(), indent=2) + "\n", encoding="utf-8")
