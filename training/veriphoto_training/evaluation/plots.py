"""Plots of an evaluation, as PNG bytes. No global state: nothing here touches pyplot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_curve

from veriphoto.preprocessing import Box
from veriphoto_training.scoring.metrics import Floats, Labels, auroc, class_weights, rates
from veriphoto_training.scoring.scorers import Evidence

Answers = Mapping[str, tuple[Labels, Floats]]
"""By delivery: labels [N] and probabilities [N]."""

_SIZE: Final = (5.2, 4.4)
_DPI: Final = 110
_BINS: Final = 10
_OVERLAY: Final = 320
"""Longest side of a picture with its evidence, in pixels."""
_STRENGTH: Final = 0.55


def roc(answers: Answers, threshold: float) -> bytes:
    """Draws ROC curves, the operating point on each.

    Args:
        answers: Labels and probabilities, by delivery.
        threshold: Probability from which a picture counts as AI-generated.

    Returns:
        A PNG file.
    """
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    for name, (labels, probabilities) in answers.items():
        alarms, found, _ = roc_curve(labels, probabilities)
        (line,) = axes.plot(alarms, found, label=f"{name}, AUROC {auroc(labels, probabilities):.3f}")
        tpr, fpr = rates(labels, probabilities, threshold)
        axes.plot([fpr], [tpr], "o", color=line.get_color())
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    axes.set(
        xlabel="false-alarm rate on real pictures", ylabel="share of AI pictures found", title="ROC; dot: threshold"
    )
    axes.legend(loc="lower right")
    return _png(figure)


def reliability(answers: Answers) -> bytes:
    """Draws how often pictures of a given probability are AI-generated, classes weighted alike.

    Args:
        answers: Labels and probabilities, by delivery.

    Returns:
        A PNG file.
    """
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    for name, (labels, probabilities) in answers.items():
        weights = class_weights(labels)
        index = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
        filled = [number for number in range(_BINS) if weights[index == number].sum() > 0]
        told = [float(np.average(probabilities[index == one], weights=weights[index == one])) for one in filled]
        true = [float(np.average(labels[index == one], weights=weights[index == one])) for one in filled]
        axes.plot(told, true, "o-", label=name, markersize=4)
    axes.set(
        xlabel="probability told", ylabel="share that is AI-generated", title="Reliability", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend(loc="upper left")
    return _png(figure)


def overlay(image: Image.Image, boxes: Sequence[Box], evidence: Evidence, scale: float) -> Image.Image:
    """Lays an evidence map over the crops it belongs to: red speaks for AI, blue for a camera.

    Args:
        image: The upright picture, mode RGB.
        boxes: Places of its K crops.
        evidence: FP32 [K, G, G].
        scale: Evidence of the strongest colour, the same for all pictures of a sheet.

    Returns:
        The picture, shrunk; outside the crops it stays as it is.
    """
    shrink = min(1.0, _OVERLAY / max(image.size))
    small = image.resize((max(1, round(image.width * shrink)), max(1, round(image.height * shrink))))
    total = np.zeros((small.height, small.width))
    count = np.zeros_like(total)
    for box, grid in zip(boxes, evidence, strict=True):
        left, top = min(int(box.left * shrink), small.width - 1), min(int(box.top * shrink), small.height - 1)
        width = max(1, min(round(box.side * shrink), small.width - left))
        height = max(1, min(round(box.side * shrink), small.height - top))
        field = Image.fromarray(np.asarray(grid, dtype=np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        total[top : top + height, left : left + width] += np.asarray(field)
        count[top : top + height, left : left + width] += 1
    mean = total / np.maximum(count, 1)
    colours = colormaps["coolwarm"](0.5 + 0.5 * np.clip(mean / scale, -1, 1))[..., :3] * 255.0
    strength = (_STRENGTH * (count > 0))[..., None]
    mixed = np.asarray(small, dtype=np.float64) * (1 - strength) + colours * strength
    return Image.fromarray(mixed.round().astype(np.uint8))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
