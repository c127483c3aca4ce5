"""Builds TensorRT engines from ``model.onnx``, with either package: ``tensorrt`` or ``tensorrt-rtx-cu13``.

Precision is a property of the graph, not a wish to the builder: networks are strongly typed, and FP16 is written into
the ONNX graph first. So both packages build the same thing, and the network says what runs in which precision.

TensorRT for RTX needs no GPU to build where a compute capability is named; its engines run in its own runtime. A plan
for Triton's TensorRT backend must be built by the TensorRT of that very container: ``docker/build-plan.sh`` runs this
module there (``python -m veriphoto_export.tensorrt_plan``).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from veriphoto.contract import CONTRACT, CROPS, OPERATING_POINT
from veriphoto.errors import MissingExtraError, ModelError, UsageError
from veriphoto.files import replace_bytes
from veriphoto.manifest import ONNX_FILE, PLAN_FILE, read_manifest, verify_onnx
from veriphoto.preprocessing import preprocess
from veriphoto_export.pictures import find_pictures
from veriphoto_export.quantize import quantize_int8

PACKAGES: Final = ("tensorrt", "tensorrt_bindings", "tensorrt_rtx")
"""The second is the first without its libraries, for a container that has its own."""
PRECISIONS: Final = ("fp32", "fp16")
CALIBRATION_PICTURES: Final = 64
BATCHES: Final = (1, 16, 64)
"""Smallest, usual and largest number of pictures, K crops each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """An input or output of an engine."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A plan that was built."""

    builder: str
    """Package and version."""
    capability: str
    """Compute capability it was built for; empty for this machine's GPU."""
    bytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    convolutions: dict[str, int]
    """Number of convolutions by the precision they give."""
    profile: dict[str, tuple[int, ...]]
    """Smallest, usual and largest shape of the input."""


def find_builder() -> Any:
    """Returns the installed package.

    Raises:
        MissingExtraError: If there is none.
    """
    for name in PACKAGES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise MissingExtraError("tensorrt", "tensorrt_rtx")


def build_plan(
    model: Path,
    target: Path,
    *,
    precision: str = "fp16",
    capability: str = "",
    batches: Sequence[int] = BATCHES,
    builder: Any = None,
) -> Plan:
    """Builds an engine.

    Args:
        model: ``model.onnx``.
        target: The file to write.
        precision: ``fp32`` or ``fp16``.
        capability: Compute capability, for example ``SM89``; empty builds for this machine's GPU.
        batches: Smallest, usual and largest number of pictures.
        builder: The package; the installed one where None.

    Returns:
        What was built, read from the network and the configuration that it was built from.

    Raises:
        MissingExtraError: If no package is installed.
        UsageError: If it cannot build for another GPU, or the options are none.
        ModelError: If it does not build the graph, or the disk refuses.
    """
    package = builder or find_builder()
    if precision not in PRECISIONS:
        raise UsageError(f"there is no precision '{precision}'; choose from {', '.join(PRECISIONS)}")
    graph = onnx.load(model)
    logger = package.Logger(package.Logger.ERROR)
    maker = package.Builder(logger)
    if maker is None:
        raise ModelError(f"{package.__name__} finds no GPU; name a compute capability with tensorrt-rtx-cu13")
    network = maker.create_network(1 << int(package.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = package.OnnxParser(network, logger)
    if not parser.parse((to_fp16(graph) if precision == "fp16" else graph).SerializeToString()):
        raise ModelError(f"{model}: {'; '.join(str(parser.get_error(at)) for at in range(parser.num_errors))}")
    config = maker.create_builder_config()
    if capability:
        _aim(package, config, capability)
    crops, size = CONTRACT.crops, CONTRACT.crop_size
    shapes = [(batch, crops, size, size, 3) for batch in batches]
    profile = maker.create_optimization_profile()
    profile.set_shape(CROPS, *shapes)
    config.add_optimization_profile(profile)
    engine = maker.build_serialized_network(network, config)
    if engine is None:
        raise ModelError(f"{package.__name__} {package.__version__} does not build {model}; see its messages above")
    data = bytes(engine)
    try:
        replace_bytes(target, data)
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error.strerror or error}") from error
    smallest, usual, largest = (tuple(shape) for shape in profile.get_shape(CROPS))
    return Plan(
        builder=f"{package.__name__} {package.__version__}",
        capability=capability,
        bytes=len(data),
        inputs=tuple(_tensor(network.get_input(at)) for at in range(network.num_inputs)),
        outputs=tuple(_tensor(network.get_output(at)) for at in range(network.num_outputs)),
        convolutions=_convolutions(package, network),
        profile={"min": smallest, "opt": usual, "max": largest},
    )


def to_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the graph with the network in FP16; inputs and outputs keep their types.

    What turns features into an answer stays in FP32: the evidence map, its mean, the bias, the sigmoid and the
    operating point, whose version number FP16 could not even hold beyond 2,048.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    nodes = list(copy.graph.node)
    convolutions = [at for at, node in enumerate(nodes) if node.op_type == "Conv"]
    kept = {node.name for node in (*nodes[: convolutions[0]], *nodes[convolutions[-1] :])}
    kept |= _makers_of(OPERATING_POINT, copy)
    half = convert_float_to_float16(copy, keep_io_types=True, node_block_list=sorted(kept))
    _skip_round_trips(half)
    return half


def _skip_round_trips(graph: onnx.ModelProto) -> None:
    """Takes out casts to FP16 and straight back, which the converter puts around every output: they only round."""
    makers = {output: node for node in graph.graph.node for output in node.output}
    for node in graph.graph.node:
        there = makers.get(node.input[0]) if node.op_type == "Cast" else None
        if there is None or there.op_type != "Cast":
            continue
        kinds = [next(each.i for each in cast.attribute if each.name == "to") for cast in (there, node)]
        if kinds == [onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT]:
            node.input[0] = there.input[0]


def _makers_of(tensor: str, graph: onnx.ModelProto) -> set[str]:
    makers = {output: node for node in graph.graph.node for output in node.output}
    found: set[str] = set()
    open_ends = [tensor]
    while open_ends:
        node = makers.get(open_ends.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            open_ends += list(node.input)
    return found


def _aim(package: Any, config: Any, capability: str) -> None:
    known = getattr(package, "ComputeCapability", None)
    if known is None or not hasattr(config, "set_compute_capability"):
        raise UsageError(f"{package.__name__} builds for this machine's GPU only; leave out the compute capability")
    if not hasattr(known, capability):
        names = ", ".join(name for name in dir(known) if name.startswith("SM"))
        raise UsageError(f"{package.__name__} does not know {capability}; choose from {names}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(known, capability), 0)


def _tensor(tensor: Any) -> Tensor:
    return Tensor(name=tensor.name, dtype=tensor.dtype.name, shape=tuple(tensor.shape))


def _convolutions(package: Any, network: Any) -> dict[str, int]:
    layers = (network.get_layer(at) for at in range(network.num_layers))
    found = Counter(layer.get_output(0).dtype.name for layer in layers if layer.type == package.LayerType.CONVOLUTION)
    return dict(found)


def _quantised(model: Path, target: Path, photos: Path) -> Path:
    found = find_pictures(photos)
    step = max(1, len(found) // CALIBRATION_PICTURES)
    calibration = [preprocess(path.read_bytes()).crops[np.newaxis] for path in found[::step]]
    quantize_int8(model, target, calibration, symmetric=True)
    return target


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds ``model.plan`` into a version directory."""
    parser = argparse.ArgumentParser(description="Builds model.plan beside a version's model.onnx.")
    parser.add_argument("version", type=Path, help="model_repository/classifier/N")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16")
    parser.add_argument(
        "--int8", type=Path, metavar="PHOTOS", help="quantise the pointwise layers, calibrated on these"
    )
    parser.add_argument("--capability", default="", help="for example SM89; this machine's GPU by default")
    options = parser.parse_args(arguments)
    verify_onnx(options.version, read_manifest(options.version))
    with tempfile.TemporaryDirectory() as folder:
        graph = options.version / ONNX_FILE
        if options.int8:
            graph = _quantised(graph, Path(folder) / ONNX_FILE, options.int8)
        plan = build_plan(
            graph, options.version / PLAN_FILE, precision=options.precision, capability=options.capability
        )
    sys.stdout.write(json.dumps(asdict(plan), indent=2) + "\n")


if __name__ == "__main__":
    main()
