from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from veriphoto_training.augment.splice import STRIDE, Spliced, splice
from veriphoto_training.network.model import Outputs, build_network, forward, place_logits
from veriphoto_training.run.loss import disagreement, distance_to_teacher, training_loss

SIDE = 4 * STRIDE


def batch(count: int, share: float, views: int = 2) -> tuple[Spliced, Tensor]:
    """Crops of one tone each, so that a pixel tells which crop it comes from."""
    tones = torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 3, SIDE, SIDE)
    labels = (torch.arange(count) % 2).float()
    return splice(torch.cat([tones] * views), labels, share, np.random.default_rng(1)), labels


def test_places_say_how_much_of_them_is_generated() -> None:
    spliced, labels = batch(8, 1.0)
    first, second = spliced.x_nchw.reshape(2, 8, 3, SIDE, SIDE).unbind()
    assert torch.equal(first, second)
    # Tones are the crops' numbers and odd crops are AI, so a pixel that is no mixture tells its own label.
    tone = first[:, 0]
    sharp = (tone == tone.round()).all(2).all(1)
    assert sharp.any()
    seen = nn.functional.avg_pool2d((tone % 2)[:, None], STRIDE)[:, 0]
    assert torch.allclose(spliced.places[sharp], seen[sharp], atol=1e-5)
    assert spliced.mixed.all()
    changed = (tone != torch.arange(8)[:, None, None]).flatten(1).any(1)
    assert changed.sum() >= 6  # a permutation may leave a crop its own
    assert ((spliced.places > 0) & (spliced.places < 1)).any()
    assert labels.sum() == 4


def test_without_a_share_nothing_is_spliced() -> None:
    spliced, labels = batch(4, 0.0)
    assert not spliced.mixed.any()
    assert torch.equal(spliced.x_nchw[:4, 0, 0, 0], torch.arange(4.0))
    assert torch.equal(spliced.places, labels[:, None, None].expand(4, 4, 4))


def test_places_average_to_the_logit() -> None:
    network = build_network().eval()
    with torch.inference_mode():
        outputs = forward(network, torch.randn(2, 3, 64, 64))
        places = place_logits(network, outputs.maps)
    assert places.shape == (2, 2, 2)
    assert torch.allclose(places.mean((1, 2)), outputs.logits, atol=1e-4)


def test_a_map_that_points_at_the_region_costs_less_than_one_that_does_not() -> None:
    head = nn.Module()
    head.classifier = nn.Linear(1, 1)
    nn.init.ones_(head.classifier.weight)
    nn.init.zeros_(head.classifier.bias)
    truth = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    spliced = Spliced(torch.zeros(1, 3, 64, 64), torch.tensor([True]), truth)

    def cost(places: Tensor) -> float:
        outputs = Outputs(places.flatten(1).mean(1, keepdim=True), places.mean((1, 2)), places[:, None])
        return float(training_loss(head, outputs, spliced, torch.zeros(1), 0.0).detach())

    right = (truth * 2 - 1) * 4
    assert cost(right) < 0.05
    assert cost(right.flip(2)) > 1.0
    assert cost(right.mean().expand(1, 2, 2)) > 0.3


def test_views_that_agree_cost_nothing_more() -> None:
    pooled, logits = torch.randn(4, 6), torch.randn(4)
    assert float(disagreement(torch.stack([pooled, pooled]), torch.stack([logits, logits]))) == pytest.approx(
        0, abs=1e-5
    )
    assert float(disagreement(torch.stack([pooled, -pooled]), torch.stack([logits, -logits]))) > 1.0


def test_the_distance_to_the_teacher_counts_the_crops_that_it_knows() -> None:
    taught = torch.eye(3)
    views = torch.cat([taught, -taught])  # the first view says what the teacher does, the second the opposite
    used = torch.tensor([True, True, False])
    assert float(distance_to_teacher(views, taught, used)) == pytest.approx(1.0)
    assert float(distance_to_teacher(torch.cat([taught, taught]), taught, used)) == pytest.approx(0.0)
    assert float(distance_to_teacher(views, taught, torch.zeros(3, dtype=torch.bool))) == 0.0
