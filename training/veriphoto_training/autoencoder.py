"""TAEF2: the tiny autoencoder of FLUX.2's latent space, whose decoder leaves a generator's traces in a real photo.

Weights: MIT, by the TAESD project; two files, ``taef2_encoder.pth`` and ``taef2_decoder.pth``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from veriphoto.errors import UsageError

_WIDTH = 64
_LATENT = 32


def _conv(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


class _Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class _Block(nn.Module):
    def __init__(self, *, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(_WIDTH, _WIDTH), nn.ReLU(), _conv(_WIDTH, _WIDTH), nn.ReLU(), _conv(_WIDTH, _WIDTH)
        )
        self.pool = (
            nn.Sequential(
                nn.Conv2d(_WIDTH, 256, 1, bias=False),
                nn.GroupNorm(4, 256),
                nn.ReLU(),
                nn.Conv2d(256, _WIDTH, 1, bias=False),
            )
            if pooled
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


def _encoder() -> nn.Sequential:
    layers: list[nn.Module] = [_conv(3, _WIDTH), _Block()]
    for stage in range(3):
        layers.append(_conv(_WIDTH, _WIDTH, stride=2, bias=False))
        layers.extend(_Block(pooled=stage == 2) for _ in range(3))
    return nn.Sequential(*layers, _conv(_WIDTH, _LATENT))


def _decoder() -> nn.Sequential:
    layers: list[nn.Module] = [_Clamp(), _conv(_LATENT, _WIDTH), nn.ReLU()]
    layers.extend(_Block(pooled=True) for _ in range(3))
    for blocks in (3, 3, 1):
        layers.extend([nn.Upsample(scale_factor=2), _conv(_WIDTH, _WIDTH, bias=False)])
        layers.extend(_Block() for _ in range(blocks))
    return nn.Sequential(*layers, _conv(_WIDTH, 3))


class Autoencoder(nn.Module):
    """Encodes and decodes: FP32 [N, 3, H, W] in 0..1, sides a multiple of 8, to the same shape."""

    def __init__(self, directory: Path) -> None:
        """Loads the two files of weights.

        Args:
            directory: Holds them.

        Raises:
            UsageError: If one is missing or does not fit.
        """
        super().__init__()
        self.encoder, self.decoder = _encoder(), _decoder()
        for name, module in (("encoder", self.encoder), ("decoder", self.decoder)):
            file = directory / f"taef2_{name}.pth"
            try:
                state = torch.load(file, map_location="cpu", weights_only=True)
                _load_in_order(module, state)
            except Exception as error:  # missing, broken or another network's
                raise UsageError(f"{file} does not hold the {name}'s weights: {error}") from error
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Returns the reconstruction, clamped to 0..1."""
        out: Tensor = self.decoder(self.encoder(x))
        return out.float().clamp(0.0, 1.0)


def _load_in_order(module: nn.Module, state: dict[str, Tensor]) -> None:
    own = module.state_dict()
    if set(own) != set(state):  # the files may count layers from another start; order and shapes are the same
        if len(own) != len(state):
            raise ValueError(f"{len(state)} tensors, expected {len(own)}")
        state = dict(zip(own, state.values(), strict=True))
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()})
