"""Shows where in a photo the score comes from: the evidence map of the same pass, laid over the picture.

The map adds up to the score (its mean plus ``evidence_bias`` is the logit), so it is an exact decomposition of the
classifier's answer and not the estimate of another model.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriphoto.decoding import decode
from veriphoto.preprocessing import Box, crop_boxes
from veriphoto_client import Detection

LONGEST_SIDE: Final = 1024
"""Longest side of the returned picture, in pixels."""

_AI: Final = np.array([214, 39, 40], dtype=np.float32)
_REAL: Final = np.array([31, 119, 180], dtype=np.float32)
_STRONGEST: Final = 0.65
"""Opacity of the map where evidence is strongest."""
_CLEAR: Final = 1.0
"""Evidence in logits that is drawn in full where nothing is stronger; a map of less stays pale."""
_UNSEEN: Final = 0.55
"""Brightness of areas that no crop covers."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a picture has its score."""

    evidence: list[list[list[float]]]
    """[K, G, G]: contributions to the logit, crop by crop; positive speaks for AI-generated."""
    evidence_bias: float
    """Difference between the logit and the mean of the evidence."""
    boxes: list[dict[str, int]]
    """Where each crop lies: ``left``, ``top``, ``side``, in pixels of the upright picture."""
    overlay: str
    """The picture with the map over it: PNG in base64."""
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {
            "evidence": self.evidence,
            "evidence_bias": self.evidence_bias,
            "boxes": self.boxes,
            "overlay_png_base64": self.overlay,
            "explanation": self.sentence,
        }


def explain(data: bytes, detection: Detection) -> Explanation:
    """Explains an answer. Takes tens of milliseconds: decoding, drawing, encoding.

    Args:
        data: The bytes of the file that was scored.
        detection: The answer.

    Returns:
        The explanation.

    Raises:
        ImageError: If the picture cannot be decoded.
    """
    decoded = decode(data)
    photo, size = decoded.image, decoded.size
    boxes = crop_boxes(*size)
    photo.thumbnail((LONGEST_SIDE, LONGEST_SIDE))  # in place: two copies of 40 megapixels would be 240 MB
    heat, seen = _lay(detection.evidence, boxes, size, photo.size)
    # Red on a photo that is answered "real" would say the opposite of the answer.
    painted = np.minimum(heat, 0.0) if detection.verdict.verdict == "real" else heat
    return Explanation(
        evidence=[[[round(float(v), 5) for v in row] for row in crop] for crop in detection.evidence],
        evidence_bias=detection.second_opinion.first_logit - float(detection.evidence.mean()),
        boxes=[{"left": box.left, "top": box.top, "side": box.side} for box in boxes],
        overlay=base64.b64encode(_png(_blend(photo, painted, seen))).decode("ascii"),
        sentence=_sentence(detection, heat, seen),
    )


def _lay(
    evidence: Floats, boxes: tuple[Box, ...], size: tuple[int, int], shown: tuple[int, int]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Puts the crops' maps where the crops were cut; where crops overlap, their mean."""
    total = np.zeros((shown[1], shown[0]), dtype=np.float32)
    count = np.zeros_like(total)
    for grid, box in zip(evidence, boxes, strict=True):
        left, right = (round(x * shown[0] / size[0]) for x in (box.left, box.left + box.side))
        top, bottom = (round(y * shown[1] / size[1]) for y in (box.top, box.top + box.side))
        if right <= left or bottom <= top:
            continue  # in a very thin picture nothing is left of the crop at this size
        soft = Image.fromarray(np.ascontiguousarray(grid)).resize(
            (right - left, bottom - top), Image.Resampling.BICUBIC
        )
        total[top:bottom, left:right] += np.asarray(soft)
        count[top:bottom, left:right] += 1.0
    return total / np.maximum(count, 1.0), count > 0


def _blend(photo: Image.Image, heat: Floats, seen: npt.NDArray[np.bool_]) -> Image.Image:
    pixels = np.asarray(photo, dtype=np.float32)
    strength = np.abs(heat) / max(float(np.abs(heat).max()), _CLEAR)
    opacity = (_STRONGEST * strength)[..., np.newaxis]
    colour = np.where(heat[..., np.newaxis] > 0, _AI, _REAL)
    mixed = np.where(seen[..., np.newaxis], pixels * (1 - opacity) + colour * opacity, pixels * _UNSEEN)
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)  # a third of the default's time for a few per cent more bytes
    return buffer.getvalue()


def _sentence(detection: Detection, heat: Floats, seen: npt.NDArray[np.bool_]) -> str:
    towards_ai = detection.verdict.prediction == "ai_generated"
    if detection.verdict.verdict == "unsure" and seen.any():  # an answer for neither: the larger part is named
        towards_ai = float((heat[seen] > 0).mean()) >= 0.5
    leaning = heat if towards_ai else -heat
    share = float((leaning[seen] > 0).mean()) if seen.any() else 0.0
    unseen = "" if seen.all() else " Darkened parts were not examined."
    if not detection.second_opinion.asked:
        return f"{_about_the_map(detection, leaning, seen, share, towards_ai=towards_ai)}{unseen}"
    if share < 0.5:
        return f"A second model decided, which draws no map; the first model's map leans the other way.{unseen}"
    sentence = _about_the_map(detection, leaning, seen, share, towards_ai=towards_ai)
    return f"{sentence} The map is the first model's; the score is also a second one's, which draws no map.{unseen}"


def _about_the_map(
    detection: Detection, leaning: Floats, seen: npt.NDArray[np.bool_], share: float, *, towards_ai: bool
) -> str:
    side, other = ("AI generation", "a camera") if towards_ai else ("a camera", "AI generation")
    if share == 0.0:
        return f"No single area speaks for {side}; the score follows from the photo as a whole."
    row, column = np.unravel_index(int(np.argmax(np.where(seen, leaning, -np.inf))), leaning.shape)
    place = _place(int(row) / leaning.shape[0], int(column) / leaning.shape[1])
    painted = f"speaks for {side} ({'red' if towards_ai else 'blue'}), most strongly {place}"
    if share == 1.0:
        return f"All of the examined area {painted}."
    percent = min(max(share, 0.01), 0.99)
    # Not coloured on a photo that is answered "real", so not spoken of either.
    rest = "" if detection.verdict.verdict == "real" else f"; the rest speaks for {other}"
    return f"{percent:.0%} of the examined area {painted}{rest}."


def _place(down: float, across: float) -> str:
    vertical = "top" if down < 1 / 3 else "bottom" if down > 2 / 3 else ""
    horizontal = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    if not vertical and not horizontal:
        return "in the middle of the photo"
    return f"at the {' '.join(filter(None, (vertical, horizontal)))} of the photo"
