from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from veriphoto.errors import UsageError
from veriphoto_training.network.model import build_network, load_checkpoint, save_checkpoint
from veriphoto_training.run.averaging import average

METADATA = {
    "recipe": {"validation_share": 0.1},
    "seed": 0,
    "data_fingerprint": "f",
    "weights": "none",
    "holdout_sources": [],
    "holdout_generators": [],
}


def checkpoint(path: Path, run_id: str, **changes: Any) -> Path:
    save_checkpoint(path, build_network().state_dict(), {**METADATA, "run_id": run_id, **changes})
    return path


def test_the_mean_of_two_runs(tmp_path: Path) -> None:
    paths = [checkpoint(tmp_path / f"{name}.pt", name) for name in "ab"]
    network, metadata = load_checkpoint(average(paths, tmp_path / "mean"))
    (first, _), (second, _) = (load_checkpoint(path) for path in paths)
    assert metadata["averaged"] == ["a", "b"]
    mean = (first.classifier.weight + second.classifier.weight) / 2  # type: ignore[union-attr, operator]
    assert torch.allclose(network.classifier.weight, mean)  # type: ignore[union-attr, arg-type]


def test_the_mean_of_one_run_is_itself(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a.pt", "a")
    network, metadata = load_checkpoint(average([path], tmp_path / "mean"))
    original, before = load_checkpoint(path)
    assert metadata == before
    assert all(
        torch.equal(one, other)
        for one, other in zip(network.state_dict().values(), original.state_dict().values(), strict=True)
    )


def test_runs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "a.pt", "a")
    with pytest.raises(UsageError, match="name a checkpoint"):
        average([], tmp_path)
    with pytest.raises(UsageError, match="holdout_sources"):
        average([first, checkpoint(tmp_path / "b.pt", "b", holdout_sources=["shop"])], tmp_path)
