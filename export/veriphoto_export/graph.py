"""The graph of every flavour of the classifier: uint8 crops in; probability, logit, evidence, operating point out.

Whatever turns the network's number into an answer lies in here (normalisation, mean over crops, calibration, sigmoid,
version and threshold), so that no client, TensorRT plan or CPU session can disagree about it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, cast

import onnx
import torch
from torch import nn

from veriphoto.contract import CONTRACT, CROPS, EVIDENCE, LOGIT, OPERATING_POINT, PROBABILITY
from veriphoto.manifest import Calibration
from veriphoto_export.operating_point import OPERATING_POINT_CONSTANT

OUTPUTS: Final = (PROBABILITY, LOGIT, EVIDENCE, OPERATING_POINT)
OPSET: Final = 18
"""Reductions take their axes as inputs from here on; ONNX Runtime 1.19 and TensorRT 10 know it."""

_BATCH: Final = "batch"


class Network(Protocol):
    """What export needs of a network: convolutional features, their mean, one linear layer (timm's EfficientNets)."""

    classifier: nn.Linear

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Maps FP32 [B, 3, S, S] to raw logits FP32 [B, 1]."""
        ...

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Maps FP32 [B, 3, S, S] to features FP32 [B, C, G, G]."""
        ...


class ClassifierGraph(nn.Module):
    """A network with everything around it.

    Average pooling and a linear layer commute, so each position's contribution to the logit can be told: the linear
    layer is applied to every position and the mean taken afterwards, for the same logit and no extra cost.
    """

    scale: torch.Tensor
    shift: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    operating_point: torch.Tensor

    def __init__(self, network: Network, calibration: Calibration) -> None:
        """Folds the calibration into the linear layer.

        Args:
            network: The network, in evaluation mode, with a classifier of one output.
            calibration: Its temperature divides the contributions, its bias joins the layer's.
        """
        super().__init__()
        self.network = cast(Any, network)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CONTRACT.mean, CONTRACT.std))
        self.register_buffer("scale", 1.0 / (255.0 * std))
        self.register_buffer("shift", -mean / std)
        weight, bias = network.classifier.weight.detach().double(), network.classifier.bias.detach().double()
        self.register_buffer("weight", (weight / calibration.temperature).float().view(1, -1, 1, 1))
        self.register_buffer("bias", (bias / calibration.temperature + calibration.bias).float().view(1, 1))
        self.register_buffer(OPERATING_POINT_CONSTANT, torch.zeros(1, len(CONTRACT.operating_point)))

    @property
    def evidence_bias(self) -> float:
        """Difference between LOGIT and the mean of EVIDENCE."""
        return float(self.bias)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores pictures.

        Args:
            crops: UINT8 [N, K, S, S, 3], RGB.

        Returns:
            PROBABILITY FP32 [N, 1], LOGIT FP32 [N, 1], EVIDENCE FP32 [N, K, G, G], OPERATING_POINT FP32 [N, m].
        """
        size, grid = CONTRACT.crop_size, CONTRACT.grid
        # The cast comes first: TensorRT takes uint8 as an input, and no layer but a cast may read it.
        pixels = crops.float().reshape(-1, size, size, 3).permute(0, 3, 1, 2) * self.scale + self.shift
        features = self.network.forward_features(pixels)
        evidence = nn.functional.conv2d(features, self.weight).reshape(-1, CONTRACT.crops, grid, grid)
        logit = evidence.mean(dim=(1, 2, 3)).reshape(-1, 1) + self.bias
        return torch.sigmoid(logit), logit, evidence, self.operating_point.expand(crops.shape[0], -1)


def export_onnx(graph: ClassifierGraph) -> onnx.ModelProto:
    """Turns the graph into ONNX with a dynamic batch.

    The operating point is left at zero: ``stamp`` sets it, without torch, each time a version is published.

    Args:
        graph: The graph, in evaluation mode, on the CPU.

    Returns:
        The model, with names and shapes of the contract.
    """
    example = torch.zeros(2, CONTRACT.crops, CONTRACT.crop_size, CONTRACT.crop_size, 3, dtype=torch.uint8)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            input_names=[CROPS],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim(_BATCH, min=1)},),
            verbose=False,
        )
    return _anonymous(cast(torch.onnx.ONNXProgram, program).model_proto)


def _anonymous(model: onnx.ModelProto) -> onnx.ModelProto:
    # The exporter writes stack traces with this machine's paths beside every node.
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    # The exporter warns of its own internals and logs progress; neither tells a user anything.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
