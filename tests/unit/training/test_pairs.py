"""Paired fakes: a twin of the same size, quality and group, that differs by what the autoencoder did alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest_pictures import encoded, textured
from PIL import Image
from torch import Tensor

from veriphoto_training.data import Picture, read_dataset
from veriphoto_training.pairs import make_pairs

SIDE = 64


class Dark(torch.nn.Module):
    """An autoencoder that gives back half the light: its share in a mixture can be read from the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        return x / 2


@pytest.fixture
def photos(picture: Callable[..., Picture], tmp_path: Path) -> list[Picture]:
    """Twelve JPEGs, a PNG and a file that is no picture, all real, and one AI picture."""
    made = []
    for number in range(12):
        one = picture(f"{number}.jpg", source=f"shop{number % 3}", group=f"group{number}")
        one.file.write_bytes(encoded(textured(number), quality=60 + 3 * number))
        made.append(one)
    plain = picture("plain.png", source="shop0", group="png")
    plain.file.write_bytes(encoded(textured(20), "PNG"))
    broken = picture("broken.jpg", source="shop1")
    broken.file.write_bytes(b"no picture")
    fake = picture("fake.jpg", 1)
    fake.file.write_bytes(encoded(textured(30), quality=80))
    return [*made, plain, broken, fake]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_pair_differs_by_the_autoencoder_alone(photos: list[Picture], tmp_path: Path) -> None:
    network = Dark()
    made = make_pairs(photos, network, tmp_path / "pairs", count=50, side=SIDE)  # type: ignore[arg-type]
    assert made == 13  # every real picture that can be read, once
    found = read_dataset(tmp_path / "pairs")
    assert not found.broken
    twins = {Path(one.path).name: one for one in found.pictures if not one.label}
    fakes = [one for one in found.pictures if one.label]
    assert len(twins) == len(fakes) == made
    assert {one.generator for one in fakes} == {"taef2"}
    assert set(network.seen) == {(1, 3, SIDE, SIDE)}
    groups = {one.group for one in photos if not one.label}
    for fake in fakes:
        twin = twins[Path(fake.path).name]
        assert fake.group == twin.group in groups
        assert fake.source == twin.source
        assert fake.source.startswith("pairs_shop")
        one, other = opened(fake.data), opened(twin.data)
        assert (one.size, one.format) == (other.size, other.format)
        assert getattr(one, "quantization", None) == getattr(other, "quantization", None)


def test_the_fake_is_between_the_decoders_and_the_photo(photos: list[Picture], tmp_path: Path) -> None:
    """Where nothing is mixed in, half the light; where half is, three quarters; never the photo itself."""
    make_pairs(photos, Dark(), tmp_path / "pairs", count=50, side=SIDE)  # type: ignore[arg-type]
    shares = []
    for one in read_dataset(tmp_path / "pairs").pictures:
        if one.label:
            twin = tmp_path / "pairs" / one.path.replace("ai/", "real/")
            fake, real = (np.asarray(opened(data).convert("L"), float) for data in (one.data, twin.read_bytes()))
            shares.append(fake.mean() / real.mean())
    assert 0.48 < min(shares) < 0.52
    assert 0.52 < max(shares) < 0.77


def test_the_twin_is_the_photo(photos: list[Picture], tmp_path: Path) -> None:
    """Cut on the grid of its JPEG and saved with its tables, it loses little."""
    make_pairs(photos[:1], Dark(), tmp_path / "pairs", count=1, side=SIDE)  # type: ignore[arg-type]
    [twin] = [np.asarray(opened(path.read_bytes()), int) for path in (tmp_path / "pairs" / "real").iterdir()]
    whole = np.asarray(opened(photos[0].data), int)
    height, width = whole.shape[:2]
    differences = [
        np.abs(whole[top : top + SIDE, left : left + SIDE] - twin).mean()
        for top in range(0, height - SIDE + 1, 8)
        for left in range(0, width - SIDE + 1, 8)
    ]
    best, second = sorted(differences)[:2]
    assert best < 4.0  # chroma is stored at half the grid
    assert second > 10 * best


def test_no_more_than_asked_for_and_the_same_again(photos: list[Picture], tmp_path: Path) -> None:
    for name in "ab":
        assert make_pairs(photos, Dark(), tmp_path / name, count=4, side=SIDE) == 4  # type: ignore[arg-type]
    first, second = (read_dataset(tmp_path / name) for name in "ab")
    assert first.fingerprint == second.fingerprint
