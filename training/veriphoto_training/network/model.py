"""The network, and the checkpoint that holds it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import torch
from torch import Tensor, nn

from veriphoto.contract import CONTRACT
from veriphoto.errors import UsageError
from veriphoto.files import flush

CHECKPOINT_FILE: Final = "best.pt"
"""The best checkpoint in a run's directory; the core's ``FINDINGS_FILE`` lies beside it."""

FORMAT: Final = 1


_GATE: Final = 2.984375
"""Bias of a squeeze-excitation gate that is open to 0.997: nearly what Lite0 computes. Of what bfloat16 can say it is
the largest below 3, from where on the gate has no gradient."""


def import_timm() -> Any:
    """Imports ``timm``, which needs help beside a CPU build of torch."""
    _define_missing_operators()
    import timm  # noqa: PLC0415  (must come after the operators are defined)

    return timm


def averaged(network: nn.Module, decay: float) -> Any:
    """Returns timm's ``ModelEmaV3``: an exponential moving average of parameters and batch-norm statistics.

    Its ``module`` is the network that is validated and shipped.

    Args:
        network: Network whose weights are averaged, from those that it has now.
        decay: What stays of it at each step, at most: early steps move further, at step ``s`` by 9 / (10 + s), or the
            start would stay in the average for long.
    """
    average = import_timm().utils.ModelEmaV3(
        network, decay, use_warmup=True, warmup_gamma=9.0, warmup_power=1.0, update_after_step=-2
    )
    average.module.requires_grad_(False)
    return average


def build_network() -> nn.Module:
    """Returns the untrained network: FP32 [N, 3, S, S], normalised, to FP32 [N, 1], the raw logit of a crop.

    An EfficientNet-B0 with ReLU6 and hard sigmoid gates, which cost less than SiLU and keep their range in eight bits.
    The gates begin open. Its head is a global average and one linear layer: the evidence map rests on that.
    """
    timm = import_timm()
    squeeze = partial(timm.models._efficientnet_blocks.SqueezeExcite, gate_layer=nn.Hardsigmoid)
    network: nn.Module = timm.create_model("tf_efficientnet_b0", num_classes=1, act_layer=nn.ReLU6, se_layer=squeeze)
    for name, module in network.named_modules():
        if name.endswith("se.conv_expand"):
            nn.init.zeros_(module.weight)
            nn.init.constant_(module.bias, _GATE)
    return network


def freeze(network: nn.Module, stages: int) -> None:
    """Keeps the first stages of a network, and its stem, from learning.

    Args:
        network: A network from ``build_network``.
        stages: Number of stages; 0 lets all learn.
    """
    frozen = [network.conv_stem, network.bn1, *network.blocks[:stages]] if stages else []  # type: ignore[index]
    for module in frozen:
        module.requires_grad_(False)


class Outputs(NamedTuple):
    """Outputs of a forward pass."""

    pooled: Tensor
    """Features [N, 1280], the mean over all places."""
    logits: Tensor
    """Raw logits [N]."""
    maps: Tensor
    """Features of each place [N, 1280, S / 32, S / 32]."""


def forward(network: nn.Module, x_nchw: Tensor) -> Outputs:
    """Runs the network and keeps what lies before its head.

    Args:
        network: A network from ``build_network``.
        x_nchw: Normalised crops.

    Returns:
        Logits and features.
    """
    maps: Tensor = network.forward_features(x_nchw)  # type: ignore[operator]  # timm's, which nn.Module does not tell
    pooled: Tensor = network.global_pool(maps)  # type: ignore[operator]
    dropped = nn.functional.dropout(pooled, float(network.drop_rate), network.training)  # type: ignore[arg-type]
    logits: Tensor = network.classifier(dropped)  # type: ignore[operator]
    return Outputs(pooled, logits[:, 0], maps)


def place_logits(network: nn.Module, maps: Tensor) -> Tensor:
    """Returns the FP32 logit of every place [N, H, W]; their mean is the crop's logit.

    Args:
        network: A network from ``build_network``.
        maps: ``Outputs.maps``.
    """
    head = cast("nn.Linear", network.classifier)
    return nn.functional.conv2d(maps.float(), head.weight[:, :, None, None], head.bias)[:, 0]


def normalise(crops_u8: Tensor) -> Tensor:
    """Turns UINT8 [N, S, S, 3] into the FP32 [N, 3, S, S] that the network takes, channels last in memory."""
    mean = torch.tensor(CONTRACT.mean, device=crops_u8.device) * 255.0
    std = torch.tensor(CONTRACT.std, device=crops_u8.device) * 255.0
    return ((crops_u8.float() - mean) / std).permute(0, 3, 1, 2)


def save_checkpoint(path: Path, network_state: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Writes a checkpoint atomically."""
    write_atomically(path, {"format": FORMAT, "state": network_state, "metadata": metadata})


def load_checkpoint(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuilds a trained network.

    Args:
        path: A run's ``best.pt``.

    Returns:
        The network in evaluation mode, and the checkpoint's metadata.

    Raises:
        UsageError: If the file is missing or is no checkpoint.
    """
    if not path.is_file():
        raise UsageError(f"{path} is missing; train first: veriphoto train")
    try:
        body = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file may raise anything here
        raise UsageError(f"{path} is no checkpoint: {error}") from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise UsageError(f"{path} is no checkpoint of format {FORMAT}")
    network = build_network()
    network.load_state_dict(body["state"])
    return network.eval(), body["metadata"]


def write_atomically(path: Path, body: object) -> None:
    """Saves with torch under another name, then renames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    torch.save(body, temporary)
    flush(temporary)
    temporary.replace(path)


_library: torch.library.Library | None = None


def _define_missing_operators() -> None:
    # PyPI's torchvision is built for CUDA: with a CPU build of torch its C++ operators do not load, and timm's import
    # of torchvision then fails on their schemas. Nothing here calls them, so empty schemas are enough.
    global _library  # noqa: PLW0603  (a Library undoes its definitions when it is collected)
    if _library is not None or torch.version.cuda is not None:
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _library.define(schema)  # type: ignore[no-untyped-call]
