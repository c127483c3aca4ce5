"""Scores pictures as serving does: encoded bytes through core's ``preprocess``, mean over crops."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from veriphoto.errors import ImageError
from veriphoto.preprocessing import preprocess
from veriphoto.variants import bfloat16_is_fast
from veriphoto_training.data.dataset import Picture
from veriphoto_training.network.model import forward, normalise
from veriphoto_training.scoring.deliveries import deliver

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Raw logits of pictures in one delivery."""

    pictures: tuple[Picture, ...]
    logits: Floats
    statistics: npt.NDArray[np.float32]
    """[n, len(Contract.statistics)]."""
    failed: dict[str, str]
    """Path to message of pictures that preprocessing refused."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices."""
        return np.array([picture.label for picture in self.pictures], np.int64)

    @property
    def groups(self) -> list[str]:
        """Groups, for the bootstrap."""
        return [picture.group for picture in self.pictures]


def score(
    network: nn.Module,
    pictures: Sequence[Picture],
    delivery: str = "clean",
    *,
    half: bool = True,
    size: int | None = None,
    pictures_at_once: int = 8,
) -> Scores:
    """Scores pictures.

    Args:
        network: The network, in evaluation mode.
        pictures: Pictures to score.
        delivery: How the pictures arrive; a key of ``DELIVERIES``.
        half: Use bfloat16 autocast where the CPU has it: faster, and scores move by about 0.05 logits.
        size: Shrink crops to this side first; only for networks trained on enlarged whole pictures (``scoring_size``).
        pictures_at_once: Pictures per forward pass.

    Returns:
        Scores in the order of ``pictures``, without those that could not be read.
    """
    device = next(network.parameters()).device
    done: list[Picture] = []
    logits: list[float] = []
    statistics: list[npt.NDArray[np.float32]] = []
    failed: dict[str, str] = {}
    ready: list[tuple[Picture, npt.NDArray[np.uint8]]] = []

    def flush() -> None:
        if not ready:
            return
        stacked = torch.from_numpy(np.stack([crops for _, crops in ready]))
        logits.extend(crop_logits(network, stacked.to(device), half=half, size=size).mean(1).tolist())
        done.extend(picture for picture, _ in ready)
        ready.clear()

    with torch.inference_mode():
        for picture, made in _prepared(pictures, delivery):
            if isinstance(made, ImageError):
                failed[picture.path] = made.to_wire()
                continue
            statistics.append(made[1])
            ready.append((picture, made[0]))
            if len(ready) == pictures_at_once:
                flush()
        flush()
    return Scores(
        pictures=tuple(done),
        logits=np.array(logits, np.float64),
        statistics=np.stack(statistics) if statistics else np.zeros((0, 0), np.float32),
        failed=failed,
    )


def scoring_size(recipe: Mapping[str, Any]) -> int | None:
    """Returns the side to which the crops of a run with this recipe are shrunk, in pixels; None leaves them alone."""
    return int(recipe["crop_size"]) if recipe.get("whole_picture") else None


def crop_logits(network: nn.Module, crops: torch.Tensor, *, half: bool, size: int | None = None) -> torch.Tensor:
    """Returns raw logits [B, K] of UINT8 crops [B, K, S, S, 3]."""
    batch, count = crops.shape[:2]
    x_nchw = normalise(crops.flatten(0, 1))
    if size is not None and size != x_nchw.shape[-1]:
        x_nchw = nn.functional.interpolate(x_nchw, (size, size), mode="bicubic", antialias=True)
    with torch.autocast(crops.device.type, torch.bfloat16, enabled=half and bfloat16_is_fast()):
        logits = forward(network, x_nchw).logits
    return logits.float().reshape(batch, count)


Made = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]] | ImageError


def _prepared(pictures: Sequence[Picture], delivery: str, ahead: int = 32) -> Iterator[tuple[Picture, Made]]:
    with ThreadPoolExecutor(2, thread_name_prefix="scoring") as pool:
        waiting: deque[tuple[Picture, Future[Made]]] = deque()
        rest = iter(pictures)
        while True:
            while len(waiting) < ahead and (picture := next(rest, None)) is not None:
                waiting.append((picture, pool.submit(_prepare, picture, delivery)))
            if not waiting:
                return
            picture, future = waiting.popleft()
            yield picture, future.result()


def _prepare(picture: Picture, delivery: str) -> Made:
    try:
        made = preprocess(deliver(picture.data, delivery))
    except ImageError as error:
        return error
    return made.crops, made.statistics
