"""A published version as the start of a training: its graph's weights, back in a network that can learn.

Checkpoints stay with whoever trained; what everybody has is the graph in the model repository. Export folds each batch
norm into the convolution before it, and a network without them hardly trains, so they are given back: first as norms
that do nothing but add the folded bias, then, on pictures, with the statistics of what they see.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from veriphoto.errors import MissingExtraError, UsageError
from veriphoto.manifest import ONNX_FILE, Manifest, latest_version, read_manifest, verify_onnx


def is_published(option: str) -> bool:
    """Returns whether the starting weights are published: a version's directory, or the classifier's with versions."""
    directory = Path(option)
    return (directory / ONNX_FILE).is_file() or any(directory.glob(f"[0-9]*/{ONNX_FILE}"))


def check_published(option: str) -> Manifest:
    """Checks that a version can be a start, and returns its manifest.

    Raises:
        ModelError: If the version must not be used.
        MissingExtraError: If ``onnx`` is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtraError("train", "onnx")
    directory = version_directory(option)
    manifest = read_manifest(directory)
    verify_onnx(directory, manifest)
    return manifest


def version_directory(option: str) -> Path:
    """Returns the directory of the version that published starting weights stand for: itself, or the newest in it."""
    directory = Path(option)
    return directory if (directory / ONNX_FILE).is_file() else latest_version(directory)


def describe_published(option: str) -> str:
    """Describes the version that a run starts from, without paths of this machine."""
    manifest = read_manifest(version_directory(option))
    lineage = manifest.findings.lineage
    return f"{lineage.weights}, then run {lineage.run_id} as published (graph {manifest.onnx_sha256[:12]})"


def load_published(option: str, network: nn.Module) -> None:
    """Loads the network of a published version.

    Args:
        option: ``model_repository/classifier/N``, or ``model_repository/classifier`` for its newest version.
        network: A network from ``model.build_network``. In evaluation mode it then answers as the version does, before
            calibration. To train it, call ``measure_norms`` first.

    Raises:
        ManifestError: If the version cannot be used.
        UsageError: If its graph is not of our export.
        MissingExtraError: If ``onnx`` is not installed.
    """
    manifest = check_published(option)
    graph = _read(version_directory(option) / ONNX_FILE)
    try:
        _fill(network, graph, manifest)
    except (KeyError, RuntimeError) as error:
        raise UsageError(f"weights '{option}': its graph is not one that 'veriphoto export' made ({error})") from error


@torch.inference_mode()
def measure_norms(network: nn.Module, x_nchw: Tensor) -> None:
    """Gives every batch norm the statistics of what it sees, and leaves what the network answers as it is.

    Args:
        network: Any network; in evaluation mode after.
        x_nchw: Normalised crops as training will show them; 32 and more.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(_measure) for norm in norms]
    try:
        network.eval()(x_nchw)
    finally:
        for handle in handles:
            handle.remove()


def _measure(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
    # Before the norm is applied: it then answers as before, and those after it see what they always saw.
    variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3))
    old_mean, old_variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    gain = norm.weight / (old_variance + norm.eps).sqrt()
    norm.bias.add_(gain * (mean - old_mean))
    norm.weight.copy_(gain * (variance + norm.eps).sqrt())
    old_mean.copy_(mean)
    old_variance.copy_(variance)


class _Graph(NamedTuple):
    convolutions: list[tuple[Tensor, Tensor]]
    """Weights and biases, in the order in which they are applied. Names are no help: export keeps one of several equal
    constants, and leaves out biases of zeros."""
    constants: dict[str, Tensor]


def _read(path: Path) -> _Graph:
    import onnx  # noqa: PLC0415  (only starts of this kind need it)
    from onnx import numpy_helper  # noqa: PLC0415  (likewise)

    graph = onnx.load(path).graph
    found = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    convolutions = []
    for node in graph.node:
        if node.op_type == "Conv":
            weight = found[node.input[1]]
            bias = found[node.input[2]] if len(node.input) > 2 else torch.zeros(len(weight))
            convolutions.append((weight, bias))
    return _Graph(convolutions, found)


@torch.no_grad()
def _fill(network: nn.Module, graph: _Graph, manifest: Manifest) -> None:
    modules: dict[str, Any] = dict(network.named_modules())
    convolutions = iter(graph.convolutions)
    previous: Tensor | None = None
    for name, module in modules.items():  # in the order in which they are applied
        if isinstance(module, nn.Conv2d):
            weight, bias = next(convolutions, (torch.empty(0), torch.empty(0)))
            if weight.shape != module.weight.shape:
                raise KeyError(f"{name} has other weights")
            module.weight.copy_(weight)
            if module.bias is not None:
                module.bias.copy_(bias)
            else:
                previous = bias
        elif isinstance(module, nn.BatchNorm2d):
            if previous is None:
                raise KeyError(f"{name} follows no convolution")
            _only_add(module, previous)
            previous = None
    constants = graph.constants
    calibration = manifest.findings.calibration
    head: nn.Linear = modules["classifier"]
    # Export folds the calibration into the head; here the raw logit is wanted.
    head.weight.copy_(constants["weight"].flatten()[None] * calibration.temperature)
    head.bias.fill_((manifest.evidence_bias - calibration.bias) * calibration.temperature)


def _only_add(norm: nn.BatchNorm2d, bias: Tensor) -> None:
    norm.load_state_dict(
        {
            "weight": torch.full_like(bias, (1.0 + norm.eps) ** 0.5),
            "bias": bias,
            "running_mean": torch.zeros_like(bias),
            "running_var": torch.ones_like(bias),
            "num_batches_tracked": torch.tensor(0),
        }
    )
