"""A moving average of the weights: the network that is validated and shipped."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of parameters and batch-norm statistics."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Starts at the network's weights."""
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves towards the network; early steps move further, or the start would stay in the average for long."""
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        own, new = list(self._tensors(self.network)), list(self._tensors(network))
        floats = [pair for pair in zip(own, new, strict=True) if pair[0].is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floats], [theirs for _, theirs in floats], 1.0 - decay)
        for mine, theirs in zip(own, new, strict=True):
            if not mine.is_floating_point():
                mine.copy_(theirs)

    @staticmethod
    def _tensors(network: nn.Module) -> list[Tensor]:
        return list(network.state_dict().values())
