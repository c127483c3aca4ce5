"""Plots that show what they are given."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from veriphoto.preprocessing import Box, crop_boxes
from veriphoto_training.evaluation.plots import overlay, reliability, roc

LABELS = np.array([0, 0, 0, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.7, 0.4, 0.8, 0.9])


def _shape(png: bytes) -> tuple[int, int]:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.size


def test_plots_are_pictures_and_depend_on_the_scores() -> None:
    answers = {"clean": (LABELS, SCORES), "hard": (LABELS, SCORES[::-1])}
    for plot in (lambda given: roc(given, 0.5), reliability):
        assert min(_shape(plot(answers))) > 300
        assert plot(answers) != plot({"clean": (LABELS, SCORES)})
    assert roc(answers, 0.5) != roc(answers, 0.85)


def test_red_speaks_for_ai_and_what_no_crop_saw_stays() -> None:
    image = Image.new("RGB", (320, 320), (120, 120, 120))
    evidence = np.stack([np.full((7, 7), 2.0), np.full((7, 7), -2.0)]).astype(np.float32)
    drawn = np.asarray(overlay(image, [Box(0, 0, 100), Box(200, 200, 100)], evidence, scale=1.0), dtype=int)
    red, blue = drawn[50, 50], drawn[250, 250]
    assert red[0] > red[2] + 40
    assert blue[2] > blue[0] + 40
    assert tuple(drawn[50, 250]) == (120, 120, 120)


def test_overlapping_crops_are_averaged_and_large_pictures_shrunk() -> None:
    boxes = crop_boxes(1000, 700)
    image = Image.new("RGB", (1000, 700), "grey")
    evidence = np.zeros((1, 7, 7), dtype=np.float32)
    assert overlay(image, boxes, evidence, scale=1.0).size == (320, 224)
    same = [Box(0, 0, 100), Box(0, 0, 100)]
    cancelled = np.stack([np.ones((7, 7)), -np.ones((7, 7))]).astype(np.float32)
    red, _, blue = np.asarray(overlay(image, same, cancelled, scale=1.0), dtype=int)[10, 10]
    assert abs(red - blue) < 8


def test_tiny_pictures_can_be_drawn() -> None:
    image = Image.new("RGB", (3, 2), "white")
    assert overlay(image, crop_boxes(3, 2), np.ones((1, 7, 7), dtype=np.float32), scale=1.0).size == (3, 2)
