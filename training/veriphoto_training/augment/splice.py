"""Regions of one picture pasted into another, with the answer known place by place.

The network's head is a mean over places, so a crop that is half real and half AI can be taught at each place: the
evidence map learns to point (weak labels of whole pictures alone taught it hardly anything), and mixtures regularise as
CutMix does (Yun et al. 2019, arXiv 1905.04899). Regions move between pictures of either class alike: a seam, or a
change of noise at it, means neither "AI" nor "real".
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

STRIDE: Final = 32
"""Pixels a place, the network's stride."""
_SIDES: Final = (0.3, 0.8)
"""Sides of a region, as a share of the crop's."""


class Spliced(NamedTuple):
    """A batch in which some crops hold a region of another."""

    x_nchw: Tensor
    """All views [V * N, 3, S, S]; every view of a crop holds the same region of the same other crop."""
    mixed: Tensor
    """BOOL [N]: which hold one."""
    places: Tensor
    """FP32 [N, S / 32, S / 32]: the label of each place, in between where a region's border crosses it."""


def splice(x_nchw: Tensor, labels: Tensor, share: float, rng: np.random.Generator) -> Spliced:
    """Pastes regions between the crops of a batch.

    Args:
        x_nchw: Normalised views, all first views before all second ones [V * N, 3, S, S].
        labels: FP32 [N], 0 real and 1 AI, possibly smoothed.
        share: Share of crops that get a region.
        rng: Source of all random draws.

    Returns:
        The batch with regions pasted.
    """
    count, side = len(labels), x_nchw.shape[-1]
    other = torch.from_numpy(rng.permutation(count))
    mixed = torch.from_numpy(rng.random(count) < share)
    masks = torch.stack([_region(side, rng) for _ in range(count)]) * mixed[:, None, None]
    soft = nn.functional.avg_pool2d(masks[:, None], 5, 1, 2, count_include_pad=False)
    # Half of the seams are softened, so that no kind of seam is always there.
    blurred = torch.from_numpy(rng.random(count) < 0.5)[:, None, None, None]
    alpha = torch.where(blurred, soft, masks[:, None]).to(x_nchw.device)
    views = x_nchw.reshape(-1, count, *x_nchw.shape[1:])
    pasted = views + alpha * (views[:, other.to(x_nchw.device)] - views)
    cells = nn.functional.avg_pool2d(masks[:, None], STRIDE)[:, 0].to(labels.device)
    own, theirs = labels[:, None, None], labels[other.to(labels.device)][:, None, None]
    return Spliced(
        pasted.flatten(0, 1).contiguous(memory_format=torch.channels_last),
        mixed.to(labels.device),
        own + cells * (theirs - own),
    )


def _region(side: int, rng: np.random.Generator) -> Tensor:
    height, width = (round(side * float(rng.uniform(*_SIDES))) for _ in range(2))
    top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
    mask = torch.zeros(side, side)
    mask[top : top + height, left : left + width] = 1.0
    return mask
