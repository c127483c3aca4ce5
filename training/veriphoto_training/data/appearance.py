"""How photos look at first sight: what a detector would rather judge by than by traces of generation.

Vivid stock photographs on one side and dull catalogue photos on the other give the classes away; ``balancing`` weighs
photos until they do not, and the audit measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriphoto.decoding import decode
from veriphoto.errors import ImageError
from veriphoto.statistics import measure
from veriphoto_training.data.dataset import Picture

LOOKS: Final = ("chroma", "contrast", "brightness", "sharpness", "share of white", "content")
"""Columns of a photo's looks; the last is the number of its cluster, of photos with like content."""

CLUSTERS: Final = 16
_SIDE: Final = 128
_GRID: Final = 6
_WHITE: Final = 245
_THREADS: Final = 2

Looks = npt.NDArray[np.float32]
Content = Callable[[Sequence[Picture]], Looks]
"""Gives features [N, D] in which photos of like content lie close together."""
Track = Callable[[Sequence[Picture]], Iterable[Picture]]


def looks(
    pictures: Sequence[Picture],
    content: Content | None = None,
    track: Track = lambda pictures: pictures,
) -> Looks:
    """Measures photos.

    Args:
        pictures: Photos; one that cannot be decoded looks like the average.
        content: Gives features [N, D] to find content in, those of a second opinion for instance; None takes colours
            and edges on a coarse grid.
        track: Shows progress.

    Returns:
        FP32 [N, len(LOOKS)].
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        measured = list(pool.map(_measure, track(pictures)))
    known = np.array([one is not None for one in measured])
    rows = np.zeros((len(pictures), len(LOOKS) - 1 + _GRID * _GRID * 4), np.float32)
    if known.any():
        rows[known] = np.stack([one for one in measured if one is not None])
        rows[~known] = rows[known].mean(axis=0)
    places = content(pictures) if content else rows[:, len(LOOKS) - 1 :]
    return np.column_stack([rows[:, : len(LOOKS) - 1], _clusters(places)]).astype(np.float32)


def _measure(picture: Picture) -> Looks | None:
    try:
        image = decode(picture.data).image
    except ImageError:
        return None
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    found = measure(image, {})
    pixels = np.asarray(image, np.float32)
    white = float((pixels.min(axis=2) > _WHITE).mean())
    grey = pixels.mean(axis=2)
    edges = np.abs(np.gradient(grey, axis=0)) + np.abs(np.gradient(grey, axis=1)) if min(grey.shape) > 1 else grey * 0
    planes = np.dstack([pixels, 4.0 * edges]).clip(0, 255).astype(np.uint8)
    coarse = [
        np.asarray(Image.fromarray(planes[:, :, index]).resize((_GRID, _GRID), Image.Resampling.BOX), np.float32)
        for index in range(planes.shape[2])
    ]
    head = [found["saturation"], found["contrast"], found["brightness"], found["sharpness"], white]
    return np.concatenate([np.array(head, np.float32), np.stack(coarse).ravel()])


def _clusters(features: Looks) -> npt.NDArray[np.int32]:
    from sklearn.cluster import KMeans  # noqa: PLC0415 - heavy, and of an extra
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    count = min(CLUSTERS, len(np.unique(scaled, axis=0)))
    with threadpool_limits(1):
        found: npt.NDArray[np.int32] = KMeans(count, n_init=2, random_state=0).fit_predict(scaled)
    return found
