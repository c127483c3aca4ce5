"""The loss of a training step."""

from __future__ import annotations

from torch import Tensor, nn, where

from veriphoto_training.augment.splice import Spliced
from veriphoto_training.network.model import Outputs, place_logits

_entropy = nn.functional.binary_cross_entropy_with_logits


def training_loss(network: nn.Module, outputs: Outputs, batch: Spliced, targets: Tensor, consistency: float) -> Tensor:
    """Cross-entropy of every crop, or of every place of a spliced one, plus the disagreement of two views.

    Args:
        network: The network, whose head gives the logits of single positions.
        outputs: The network's outputs for all V views, [V * N, ...].
        batch: The batch that the network was given.
        targets: Smoothed labels [N].
        consistency: Weight of the disagreement.

    Returns:
        The scalar loss.
    """
    count = len(targets)
    logits, pooled = outputs.logits.float().reshape(-1, count), _by_view(outputs.pooled.float(), count)
    wholes = _entropy(logits, targets.expand_as(logits), reduction="none").mean(0)
    places = _by_view(place_logits(network, outputs.maps), count)
    parts = _entropy(places, batch.places.expand_as(places), reduction="none").mean((0, 2, 3))
    loss = where(batch.mixed, parts, wholes).mean()
    if consistency and len(logits) == 2:
        loss = loss + consistency * disagreement(pooled, logits)
    return loss


def disagreement(pooled: Tensor, logits: Tensor) -> Tensor:
    """Cosine distance of two views' features [2, N, C] and symmetric KL of their outputs [2, N], as one number."""
    cosine = 1.0 - nn.functional.cosine_similarity(pooled[0], pooled[1]).mean()
    first, second = logits
    # Symmetric KL of two Bernoulli variables: (p - q)(logit p - logit q).
    divergence: Tensor = ((first.sigmoid() - second.sigmoid()) * (first - second)).mean()
    return cosine + divergence


def distance_to_teacher(projected: Tensor, taught: Tensor, used: Tensor) -> Tensor:
    """Mean cosine distance between what the network and the teacher see.

    Args:
        projected: The network's features in the teacher's space, of all V views [V * N, D].
        taught: The teacher's features [N, D].
        used: BOOL [N], the crops that count: those of one picture that the teacher knows.

    Returns:
        A scalar, 0 where no crop counts.
    """
    views = _by_view(projected.float(), len(taught))
    cosine = nn.functional.cosine_similarity(views, taught.expand_as(views), dim=-1)
    return ((1.0 - cosine) * used).sum() / (used.sum() * len(views)).clamp(min=1)


def _by_view(tensor: Tensor, count: int) -> Tensor:
    return tensor.reshape(-1, count, *tensor.shape[1:])
