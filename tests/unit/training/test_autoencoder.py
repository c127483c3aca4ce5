"""The autoencoder's network and its files; with the real weights too where VERIPHOTO_TAEF2 names their folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest_pictures import textured

from veriphoto.errors import UsageError
from veriphoto_training import autoencoder
from veriphoto_training.autoencoder import Autoencoder

REAL = Path(os.environ.get("VERIPHOTO_TAEF2", "data/taef2"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Random ones, in files that count layers from another start than ours, as published ones may."""
    torch.manual_seed(0)
    for name, build in (("encoder", autoencoder._encoder), ("decoder", autoencoder._decoder)):
        state = {f"layers.{key}": tensor.half() for key, tensor in build().state_dict().items()}
        torch.save(state, tmp_path / f"taef2_{name}.pth")
    return tmp_path


def test_a_picture_keeps_its_size_and_range(weights: Path) -> None:
    network = Autoencoder(weights)
    x = torch.rand(2, 3, 32, 48)
    y = network(x)
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert 0.0 <= float(y.min()) <= float(y.max()) <= 1.0
    assert network.encoder(x).shape == (2, 32, 4, 6)
    assert torch.equal(network(x), y)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_weights_are_taken_in_order(weights: Path) -> None:
    network = Autoencoder(weights)
    stored = torch.load(weights / "taef2_encoder.pth", weights_only=True)
    for own, given in zip(network.encoder.state_dict().values(), stored.values(), strict=True):
        assert torch.equal(own, given.float())


@pytest.mark.parametrize("fault", ["missing", "fewer", "shape", "garbage"])
def test_files_that_do_not_fit_are_refused(fault: str, weights: Path) -> None:
    file = weights / "taef2_decoder.pth"
    state = torch.load(file, weights_only=True)
    if fault == "missing":
        file.unlink()
    elif fault == "fewer":
        state.popitem()
        torch.save(state, file)
    elif fault == "shape":
        torch.save({name: tensor.reshape(-1) for name, tensor in state.items()}, file)
    else:
        file.write_bytes(b"no weights")
    with pytest.raises(UsageError, match=r"taef2_decoder.pth does not hold the decoder's weights"):
        Autoencoder(weights)


@pytest.mark.skipif(not (REAL / "taef2_encoder.pth").is_file(), reason="VERIPHOTO_TAEF2 names no folder of weights")
def test_the_real_weights_reconstruct() -> None:
    """Close to the picture, and not the picture."""
    pixels = np.array(textured(0))[:64, :64].copy()
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    smooth = torch.nn.functional.avg_pool2d(x, 9, 1, 4)  # noise is beyond any autoencoder
    error = float((Autoencoder(REAL)(smooth) - smooth).abs().mean())
    assert 0.001 < error < 0.08
