"""An encoder of a few bytes in the encoder's place: its two features are the mean brightness of a square, and one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from veriphoto.contract import CONTRACT, CROPS, FEATURES
from veriphoto.manifest import DriftReference, sha256_file
from veriphoto.second_opinion import ENCODER_FP32, Encoder, Rule, SecondOpinion
from veriphoto.verdict import OperatingPoint

import numpy as np  # isort: skip

IDENTITY = hashlib.sha256(b"brightness").hexdigest()
POINT = OperatingPoint(
    model_version=0, threshold=0.75, unsure_low=0.25, unsure_high=0.75, min_side=96.0, max_blockiness=50.0
)


def write_toy_encoder(repository: Path, *, size: int = CONTRACT.crop_size, features: int = 2) -> Encoder:
    """Puts it into a model repository; with another size or number of features, one that does not fit."""
    directory = repository / "encoder" / "1"
    directory.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("Cast", [CROPS], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "one"], ["ones"]),
        helper.make_node("Concat", ["column", "ones"], [FEATURES], axis=1),
    ]
    constants = {
        "axes": np.array([1, 2, 3], np.int64),
        "last": np.array([1], np.int64),
        "zero": np.array(0.0, np.float32),
        "one": np.array(1.0, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info(CROPS, TensorProto.UINT8, ["n", size, size, 3])],
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(directory / ENCODER_FP32))
    files = {ENCODER_FP32: sha256_file(directory / ENCODER_FP32)}
    encoder = Encoder(
        name="brightness",
        identity=IDENTITY,
        features=features,
        square=0,
        source="made by the tests",
        licence="Apache-2.0",
        files=files,
    )
    encoder.write(directory)
    return encoder


def toy_opinion(ask_above: float = 0.0) -> SecondOpinion:
    """Calls dark squares AI-generated: the joint logit is 0 at a mean brightness of 127.5, and falls as it rises."""
    return SecondOpinion(
        encoder=IDENTITY,
        weights=(-0.1, 12.75),
        bias=0.0,
        rule=Rule(
            ask_above=ask_above,
            first_weight=0.0,
            second_weight=1.0,
            bias=0.0,
            alone_weight=0.5,
            alone_bias=-2.0,
        ),
        operating_point=POINT,
        real_levels=(1.0, 0.02),
        real_logits=(-6.0, 1.0),
        metrics={},
        drift_reference=DriftReference(
            score_edges=[0.0, 1.0], score_counts=[1], quantile_levels=[0.0, 1.0], statistics={"width": [1.0, 2.0]}
        ),
    )
