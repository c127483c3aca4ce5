"""Features and scores of pictures by encoder and classifier, cached on disk: a picture takes a tenth of a second."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from veriphoto.contract import LOGIT
from veriphoto.errors import ImageError
from veriphoto.files import replace_bytes
from veriphoto.opinions import EncoderPackage
from veriphoto.preprocessing import preprocess
from veriphoto.sessions import OUTPUTS, open_session
from veriphoto_training.data.dataset import Picture, fraction
from veriphoto_training.scoring.deliveries import deliver

Look = Callable[[npt.NDArray[np.uint8]], tuple[npt.NDArray[np.float32], float]]
"""Crops UINT8 [K, S, S, 3] of a picture in; the encoder's features FP32 [D] and the classifier's logit out."""

Track = Callable[[Iterable[Picture]], Iterable[Picture]]

_HASH: Final = 24
_HALF: Final = 0.5


def open_looks(graph: Path | None, encoder: EncoderPackage, threads: int) -> list[Look]:
    """Opens the encoder, and a classifier, once for each thread.

    Args:
        graph: ``model.onnx`` of the classifier's version; without one its logits are 0.
        encoder: The encoder.
        threads: Number of threads.
    """
    square, place = encoder.encoder.square, OUTPUTS.index(LOGIT)

    def opened() -> Look:
        features = encoder.open()
        if graph is None:
            return lambda crops: (features(crops[square][None])[0], 0.0)
        classify = open_session(graph)
        return lambda crops: (features(crops[square][None])[0], float(classify(crops[None])[place][0, 0]))

    return [opened() for _ in range(threads)]


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Pictures in one delivery, as both models see them."""

    delivery: str
    pictures: tuple[Picture, ...]
    features: npt.NDArray[np.float32]
    """[n, D]."""
    first: npt.NDArray[np.float64]
    """[n]: the classifier's calibrated logit."""
    statistics: npt.NDArray[np.float32]
    """[n, len(Contract.statistics)]."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices."""
        return np.array([picture.label for picture in self.pictures], np.int64)

    @property
    def sources(self) -> npt.NDArray[np.str_]:
        """Class and source: a source that has pictures of both classes is two."""
        return np.array([f"{picture.label}:{picture.source}" for picture in self.pictures])


def look_at(
    pictures: Sequence[Picture],
    delivery: str,
    opened: Sequence[Look],
    cache: Path,
    track: Track = lambda pictures: pictures,
) -> Looks:
    """Runs both models on pictures, except on those whose results are in the cache.

    Args:
        pictures: Pictures to score; those that cannot be scored are left out.
        delivery: A key of ``deliveries.DELIVERIES``, or ``mixed``: ``web`` for one half of the pictures, ``hard`` for
            the other.
        opened: Both models, opened once for each thread.
        cache: A directory for these two models alone: a picture's file is named by its bytes and the delivery.
        track: Shows progress.

    Returns:
        What they saw, in the order of the pictures.
    """
    cache.mkdir(parents=True, exist_ok=True)
    free = list(opened)

    def one(picture: Picture) -> tuple[npt.NDArray[np.float32], float, npt.NDArray[np.float32]] | None:
        try:
            data = picture.data
        except ImageError:
            return None
        file = cache / f"{hashlib.sha256(data).hexdigest()[:_HASH]}_{delivery}.npz"
        if file.is_file():
            with np.load(file) as kept:
                return kept["features"].astype(np.float32), float(kept["first"]), kept["statistics"]
        try:
            prepared = preprocess(deliver(data, _delivery(picture, delivery)))
        except ImageError:
            return None
        look = free.pop()
        try:
            features, first = look(prepared.crops)
        finally:
            free.append(look)
        buffer = io.BytesIO()
        # Half the size; what it rounds away is a tenth of what eight-bit activations do.
        np.savez(buffer, features=features.astype(np.float16), first=first, statistics=prepared.statistics)
        replace_bytes(file, buffer.getvalue())
        return features.astype(np.float16).astype(np.float32), first, prepared.statistics

    with ThreadPoolExecutor(len(opened)) as pool:
        seen = list(zip(pictures, pool.map(one, track(pictures)), strict=True))
    found = [(picture, look) for picture, look in seen if look is not None]
    return Looks(
        delivery=delivery,
        pictures=tuple(picture for picture, _ in found),
        features=np.stack([look[0] for _, look in found]),
        first=np.array([look[1] for _, look in found], np.float64),
        statistics=np.stack([look[2] for _, look in found]),
    )


def _delivery(picture: Picture, delivery: str) -> str:
    if delivery != "mixed":
        return delivery
    return "web" if fraction(picture.path, "delivery") < _HALF else "hard"
