"""Scores pictures as serving does: encoded bytes through core's ``preprocess``, mean over crops."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from veriphoto.contract import CONTRACT
from veriphoto.errors import ImageError
from veriphoto.preprocessing import Preprocessed, preprocess
from veriphoto.variants import bfloat16_is_fast
from veriphoto_training.data.dataset import Picture
from veriphoto_training.network.model import forward, normalise
from veriphoto_training.scoring.deliveries import deliver

Floats = npt.NDArray[np.float64]
Crops = npt.NDArray[np.uint8]
Transform = Callable[[bytes], bytes]
Track = Callable[[Sequence[Picture]], Iterable[Picture]]
"""Shows progress while pictures are gone through."""

BATCH: Final = 8
"""Pictures of a forward pass, K crops each."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Logits of pictures in one delivery."""

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
) -> Scores:
    """Scores pictures with a network.

    Args:
        network: The network, in evaluation mode.
        pictures: Pictures to score.
        delivery: How the pictures arrive; a key of ``DELIVERIES``.
        half: Use bfloat16 autocast where the CPU has it: faster, and scores move by about 0.05 logits.
        size: Shrink crops to this side first; only for networks trained on enlarged whole pictures (``scoring_size``).

    Returns:
        Raw logits in the order of ``pictures``, without those that could not be read.
    """
    device = next(network.parameters()).device

    def raw(crops: Crops) -> Floats:
        with torch.inference_mode():
            found = crop_logits(network, torch.from_numpy(crops).to(device), half=half, size=size).mean(1)
        return np.asarray(found.double().cpu().numpy(), np.float64)

    return score_pictures(raw, pictures, partial(deliver, name=delivery))


def score_pictures(
    logits: Callable[[Crops], Floats],
    pictures: Sequence[Picture],
    transform: Transform = lambda data: data,
    track: Track = lambda pictures: pictures,
) -> Scores:
    """Scores pictures with whatever gives logits.

    Args:
        logits: Maps UINT8 crops [N, K, S, S, 3] to logits FP64 [N].
        pictures: Pictures to score.
        transform: Applied to each file before it is scored, such as a delivery.
        track: Shows progress.

    Returns:
        Logits in the order of ``pictures``, without those that could not be read.
    """
    done: list[Picture] = []
    found: list[Floats] = []
    statistics: list[npt.NDArray[np.float32]] = []
    failed: dict[str, str] = {}
    ready: list[Crops] = []

    def flush() -> None:
        if ready:
            found.append(logits(np.stack(ready)))
            ready.clear()

    for picture, made in prepared(track(pictures), transform):
        if isinstance(made, ImageError):
            failed[picture.path] = made.to_wire()
            continue
        done.append(picture)
        statistics.append(made.statistics)
        ready.append(made.crops)
        if len(ready) == BATCH:
            flush()
    flush()
    return Scores(
        pictures=tuple(done),
        logits=np.concatenate(found) if found else np.zeros(0),
        statistics=np.stack(statistics) if statistics else np.zeros((0, len(CONTRACT.statistics)), np.float32),
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


def prepared(
    pictures: Iterable[Picture], transform: Transform, *, threads: int = 2, ahead: int = 32
) -> Iterator[tuple[Picture, Preprocessed | ImageError]]:
    """Prepares pictures on threads, in their order.

    Args:
        pictures: The pictures.
        transform: Applied to each file first.
        threads: Threads that decode.
        ahead: Largest number of pictures that are ready or in the making: memory does not grow with the data set.

    Yields:
        Each picture with its crops and statistics, or with the reason why it has none.
    """

    def one(picture: Picture) -> Preprocessed | ImageError:
        try:
            return preprocess(transform(picture.data))
        except ImageError as error:
            return error

    with ThreadPoolExecutor(threads, thread_name_prefix="scoring") as pool:
        waiting: deque[tuple[Picture, Future[Preprocessed | ImageError]]] = deque()
        for picture in pictures:
            waiting.append((picture, pool.submit(one, picture)))
            if len(waiting) >= ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        for picture, future in waiting:
            yield picture, future.result()
