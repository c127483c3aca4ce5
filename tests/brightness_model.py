"""Small pictures, and the graph of a model that takes brightness for AI."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as make
from PIL import Image

from veriphoto.contract import CONTRACT, CROPS, EVIDENCE, LOGIT, OPERATING_POINT, PROBABILITY
from veriphoto.manifest import ONNX_FILE, Calibration, DriftReference, Findings, Lineage, Manifest, sha256_file
from veriphoto.verdict import OperatingPoint

POINT = OperatingPoint(
    model_version=1, threshold=0.5, unsure_low=0.45, unsure_high=0.55, min_side=48, max_blockiness=4.0
)


def draw(
    seed: int = 0,
    size: tuple[int, int] = (96, 96),
    kind: str = "JPEG",
    level: float = 128.0,
    grain: float = 4.0,
    **options: object,
) -> bytes:
    """A picture of smooth blobs, different for each seed, around a grey level."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0.0, 40.0, (6, 6, 3))
    small = Image.fromarray(np.clip(coarse - coarse.mean() + level, 0, 255).astype(np.uint8))
    noise = rng.normal(0.0, grain, (size[1], size[0], 3))
    pixels = np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=np.float64) + noise
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, kind, **{"quality": 90, **options})
    return buffer.getvalue()


def brightness_model() -> onnx.ModelProto:
    size, crops, grid = CONTRACT.crop_size, CONTRACT.crops, CONTRACT.grid
    constants = {
        "cells": np.array([-1, grid, size // grid, grid, size // grid, 3], np.int64),
        "map": np.array([-1, crops, grid, grid], np.int64),
        "inner": np.array([2, 4, 5], np.int64),
        "scale": np.array(16.0, np.float32),
        "middle": np.array(8.0, np.float32),
        "outer": np.array([1, 2, 3], np.int64),
        "column": np.array([-1, 1], np.int64),
        "operating_point": np.array([POINT.to_tensor()], np.float32),
    }
    nodes = [
        make.make_node("Cast", [CROPS], ["pixels"], to=onnx.TensorProto.FLOAT),
        make.make_node("Reshape", ["pixels", "cells"], ["blocks"]),
        make.make_node("ReduceMean", ["blocks", "inner"], ["means"], keepdims=0),
        make.make_node("Div", ["means", "scale"], ["scaled"]),
        make.make_node("Reshape", ["scaled", "map"], [EVIDENCE]),
        make.make_node("ReduceMean", [EVIDENCE, "outer"], ["total"], keepdims=0),
        make.make_node("Sub", ["total", "middle"], ["flat"]),
        make.make_node("Reshape", ["flat", "column"], [LOGIT]),
        make.make_node("Sigmoid", [LOGIT], [PROBABILITY]),
        make.make_node("Identity", ["operating_point"], [OPERATING_POINT]),
    ]
    kinds = {PROBABILITY: ["N", 1], LOGIT: ["N", 1], EVIDENCE: ["N", crops, grid, grid], OPERATING_POINT: None}
    graph = make.make_graph(
        nodes,
        "brightness",
        [make.make_tensor_value_info(CROPS, onnx.TensorProto.UINT8, ["N", crops, size, size, 3])],
        [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in kinds.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)


def brightness_findings() -> Findings:
    return Findings(
        calibration=Calibration(),
        operating_point=POINT,
        metrics={"auroc": 0.5},
        drift_reference=DriftReference(
            score_edges=[0.0, 1.0],
            score_counts=[1],
            quantile_levels=[0.5],
            statistics={name: [1.0] for name in CONTRACT.statistics},
        ),
        lineage=Lineage(run_id="r", recipe="product", seed=0, data_fingerprint="0" * 64, weights="none"),
    )


def brightness_repository(folder: Path) -> Path:
    """A model repository whose version 1 has logit (mean brightness - 128) / 16."""
    root = folder / "repository"
    version = root / "classifier" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text("# glue\n")
    onnx.save(brightness_model(), version / ONNX_FILE)
    Manifest(
        model_version=1,
        onnx_sha256=sha256_file(version / ONNX_FILE),
        evidence_bias=-8.0,
        created="2026-01-01T00:00:00+00:00",
        findings=brightness_findings(),
    ).write(version)
    return root
