"""Does the evidence map point at what is generated?

A region of an AI picture is pasted into a real photo, the result is saved as JPEG, and the hottest cell of the map is
looked up. A map could also point at the seam of the paste, so the control pastes a region of another real photo in the
same way: a map that finds those as often has only found seams.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from veriphoto.contract import CONTRACT
from veriphoto.decoding import decode
from veriphoto.errors import DataError, ImageError
from veriphoto.preprocessing import Box, crop_boxes, preprocess
from veriphoto_training.data.dataset import Picture
from veriphoto_training.evaluation.figure import Figure
from veriphoto_training.evaluation.intervals import share
from veriphoto_training.scoring.logits import BATCH
from veriphoto_training.scoring.scorers import Scorer

TRIALS: Final = 200
_SIDES: Final = (0.4, 0.6)  # of a crop: three to four cells of the map
_FEATHER: Final = 2.0  # pixels
_QUALITY: Final = 92


@dataclass(frozen=True, slots=True)
class Pasted:
    """A real photo with a foreign region."""

    data: bytes
    """JPEG."""
    region: Box


@dataclass(frozen=True, kw_only=True, slots=True)
class EvidenceCheck:
    """How often the hottest cell lay in the pasted region."""

    trials: int
    rate: Figure
    """Regions of AI pictures."""
    control: Figure
    """Regions of other real photos."""
    chance: float
    """What a map of noise would reach: the region's mean share of the cells."""


def check_evidence(
    scorer: Scorer, pictures: Sequence[Picture], *, trials: int = TRIALS, seed: int = 0
) -> EvidenceCheck:
    """Measures how often the map points at a pasted region.

    Args:
        scorer: The model.
        pictures: Readable pictures of both classes; real ones are pasted into.
        trials: Number of pastes of each kind.
        seed: Random seed for pictures, sizes and places.

    Returns:
        The rates.

    Raises:
        DataError: If there are not two real pictures and an AI picture.
    """
    reals = [picture for picture in pictures if picture.label == 0]
    fakes = [picture for picture in pictures if picture.label == 1]
    if len(reals) < 2 or not fakes:
        raise DataError("the evidence check needs two real pictures and an AI picture at least")
    generated = _pastes(reals, fakes, trials, np.random.default_rng((seed, 1)))
    spliced = _pastes(reals, reals, trials, np.random.default_rng((seed, 0)))
    hits, chances = _look_up(scorer, generated)
    control, _ = _look_up(scorer, spliced)
    return EvidenceCheck(
        trials=len(generated),
        rate=share(float(hits.mean()), len(hits)),
        control=share(float(control.mean()), len(control)),
        chance=float(chances.mean()),
    )


def paste(real: Image.Image, other: Image.Image, rng: np.random.Generator) -> Pasted:
    """Pastes a region of one picture into another, inside one of the crops that the detector looks at.

    Args:
        real: The real photo, mode RGB.
        other: The picture that the region is cut from, mode RGB; it keeps its resolution.
        rng: Chooses crop, size and place.

    Returns:
        The result and where the region lies.
    """
    crop = crop_boxes(*real.size)[int(rng.integers(CONTRACT.crops))]
    side = min(round(crop.side * rng.uniform(*_SIDES)), *other.size)
    left, top = (start + int(rng.integers(crop.side - side + 1)) for start in (crop.left, crop.top))
    x, y = (int(rng.integers(length - side + 1)) for length in other.size)
    mask = Image.new("L", real.size, 0)
    ImageDraw.Draw(mask).rectangle((left, top, left + side - 1, top + side - 1), fill=255)
    layer = Image.new("RGB", real.size)
    layer.paste(other.crop((x, y, x + side, y + side)), (left, top))
    # Feathered inwards only: outside the region nothing may change, and the layer is black there.
    inner = mask.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(_FEATHER))
    softened = Image.composite(inner, Image.new("L", real.size, 0), mask)
    buffer = io.BytesIO()
    Image.composite(layer, real, softened).save(buffer, "JPEG", quality=_QUALITY)
    return Pasted(buffer.getvalue(), Box(left, top, side))


def cells_inside(boxes: Sequence[Box], region: Box, grid: int = CONTRACT.grid) -> npt.NDArray[np.bool_]:
    """Returns which cells of the map lie in a region.

    Args:
        boxes: Places of the K crops in the picture.
        region: The region, in the picture's pixels.
        grid: Cells a side.

    Returns:
        BOOL [K, G, G], true where a cell's centre is inside.
    """
    centres = (np.arange(grid) + 0.5) / grid
    inside = []
    for box in boxes:
        columns = np.abs(box.left + centres * box.side - region.left - region.side / 2) <= region.side / 2
        rows = np.abs(box.top + centres * box.side - region.top - region.side / 2) <= region.side / 2
        inside.append(rows[:, None] & columns[None, :])
    return np.stack(inside)


def _pastes(reals: Sequence[Picture], others: Sequence[Picture], trials: int, rng: np.random.Generator) -> list[Pasted]:
    made: list[Pasted] = []
    for _ in range(2 * trials):  # some pictures may not be readable; twice as many tries are enough
        real, other = reals[int(rng.integers(len(reals)))], others[int(rng.integers(len(others)))]
        if real.group == other.group or len(made) == trials:
            continue
        try:
            made.append(paste(decode(real.data).image, decode(other.data).image, rng))
        except ImageError:
            continue
    if not made:
        raise DataError("no picture of the evidence check could be read")
    return made


def _look_up(scorer: Scorer, pasted: Sequence[Pasted]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    hits, shares = [], []
    for start in range(0, len(pasted), BATCH):
        batch = pasted[start : start + BATCH]
        ready = [preprocess(one.data) for one in batch]
        maps = scorer.evidence(np.stack([one.crops for one in ready]))
        for one, made, found in zip(batch, ready, maps, strict=True):
            inside = cells_inside(made.boxes, one.region, found.shape[-1])
            hits.append(bool(inside.ravel()[int(found.argmax())]))
            shares.append(float(inside.mean()))
    return np.array(hits), np.array(shares)
