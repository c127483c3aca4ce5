"""Batches: which picture is drawn when, and the threads that prepare them ahead of the network.

Every draw depends on the seed and the step alone. A run that is killed and resumed at step n therefore sees exactly the
pictures, crops and qualities that an unkilled one sees, and the number of threads changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from veriphoto.errors import ImageError
from veriphoto_training.augment.alignment import Pixels
from veriphoto_training.data.balancing import Chances, chances
from veriphoto_training.data.dataset import Picture

Maker = Callable[[bytes, np.random.Generator], tuple[Pixels, ...]]
Batch = tuple[npt.NDArray[np.uint8], list[Picture]]
"""Views UINT8 [V, B, S, S, 3] of B pictures."""

_ATTEMPTS = 20


class Sampler:
    """Draws pictures as ``balancing.chances`` says."""

    def __init__(self, pictures: Sequence[Picture], balance: float, weights: Chances | None = None) -> None:
        """Works out how likely each picture is.

        Args:
            pictures: Training pictures of both classes.
            balance: Exponent of a source's size; see ``Recipe.balance``.
            weights: How much more often than others each picture is drawn; see ``look_weights``.
        """
        self._pictures = tuple(pictures)
        self._edges = np.cumsum(chances(pictures, balance, weights))

    def draw(self, rng: np.random.Generator) -> Picture:
        """Draws one picture."""
        index = int(np.searchsorted(self._edges, rng.random() * self._edges[-1], side="right"))
        return self._pictures[min(index, len(self._pictures) - 1)]


def batches(
    sampler: Sampler,
    make: Maker,
    *,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    threads: int = 2,
    ahead: int = 6,
) -> Iterator[Batch]:
    """Yields the batches of steps ``start`` to ``stop``.

    Args:
        sampler: Draws the pictures.
        make: Makes the views of one picture.
        batch_size: Pictures per batch.
        seed: Random seed of the run.
        start: First step.
        stop: Step after the last.
        threads: Threads that decode and encode; Pillow releases the interpreter's lock meanwhile.
        ahead: Largest number of batches kept ready; it bounds the memory.

    Yields:
        Views and their pictures.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="batches") as pool:
        waiting: deque[list[Future[tuple[tuple[Pixels, ...], Picture]]]] = deque()
        next_step = start
        for _ in range(start, stop):
            while next_step < stop and len(waiting) < ahead:
                waiting.append([pool.submit(_one, sampler, make, (seed, next_step, i)) for i in range(batch_size)])
                next_step += 1
            made = [future.result() for future in waiting.popleft()]
            views = np.stack([np.stack(view) for view in zip(*(views for views, _ in made), strict=True)])
            yield views, [picture for _, picture in made]


def _one(sampler: Sampler, make: Maker, key: tuple[int, int, int]) -> tuple[tuple[Pixels, ...], Picture]:
    rng = np.random.default_rng(key)
    for _ in range(_ATTEMPTS):
        picture = sampler.draw(rng)
        try:
            return make(picture.data, rng), picture
        except ImageError:  # `data audit` names it; a run does not end because of one bad file
            continue
    raise ValueError(
        f"{_ATTEMPTS} pictures drawn in a row could not be decoded; run 'veriphoto data audit' on the data"
    )
