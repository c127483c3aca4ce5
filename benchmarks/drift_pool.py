"""Scores the photos that the shipped model was never trained on, once: the population that days are drawn from.

    python -m benchmarks.drift_pool --photos data/photos --count 600

A random sample of them (``--count``), in an order of its own. Every photo is scored twice:
as it is, and recompressed as a website does it (training's delivery ``web``: at most 768 px, JPEG quality 60). Only
numbers are kept, in ``var/drift_pool.npz``.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from benchmarks.engine import session_options

from veriphoto.contract import CLASSIFIER, CROPS, LOGIT
from veriphoto.manifest import ONNX_FILE, latest_version, read_manifest
from veriphoto.preprocessing import preprocess
from veriphoto_training.data.dataset import Picture, read_dataset
from veriphoto_training.data.splits import split_dataset
from veriphoto_training.recipes import get_recipe
from veriphoto_training.scoring.deliveries import deliver

ROOT = Path(__file__).parent.parent
DELIVERIES = ("clean", "web")
SEED = 0


def unseen(photos: Path, sources: Sequence[str], generators: Sequence[str]) -> list[Picture]:
    """Returns what the shipped model's recipe kept out of training, by the recipe's own split."""
    pictures = read_dataset(photos).pictures
    split = split_dataset(pictures, get_recipe("product").validation_share, sources, generators, SEED)
    return [*split.validation, *split.holdout]


def score(pictures: Sequence[Picture], onnx: Path, keep: Callable[[dict[str, npt.NDArray[Any]]], None]) -> None:
    """Scores pictures and hands over what it has from time to time.

    Args:
        pictures: N pictures.
        onnx: The model's graph.
        keep: Takes ``label`` [N], ``source`` [N], and per delivery ``logit_*`` [N] and ``statistics_*`` [N, n].
    """
    session = onnxruntime.InferenceSession(str(onnx), session_options(), providers=["CPUExecutionProvider"])
    found: dict[str, list[Any]] = {f"{kind}_{name}": [] for kind in ("logit", "statistics") for name in DELIVERIES}
    for number, picture in enumerate(pictures, 1):
        for name in DELIVERIES:
            ready = preprocess(deliver(picture.data, name))
            (logit,) = session.run([LOGIT], {CROPS: ready.crops[None]})
            found[f"logit_{name}"].append(float(np.ravel(logit)[0]))
            found[f"statistics_{name}"].append(ready.statistics)
        if number % 50 == 0 or number == len(pictures):
            print(f"{number} of {len(pictures)}", file=sys.stderr, flush=True)
            done = pictures[:number]
            labels = {"label": [one.label for one in done], "source": [one.source for one in done]}
            keep({key: np.array(values) for key, values in (labels | found).items()})


def main() -> None:
    """Scores and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=ROOT / "data" / "photos")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--output", type=Path, default=ROOT / "var" / "drift_pool.npz")
    arguments = parser.parse_args()
    import yaml  # noqa: PLC0415 - comes with the pipeline's tools, and only this one-off step needs it

    train = yaml.safe_load(arguments.params.read_text(encoding="utf-8"))["train"]
    pictures = unseen(arguments.photos, train["holdout-source"], train.get("holdout-generator", ()))
    random.Random(SEED).shuffle(pictures)  # noqa: S311 - a sample, not a secret
    version = latest_version(ROOT / "model_repository" / CLASSIFIER)
    digest = np.array(read_manifest(version).onnx_sha256)
    score(
        pictures[: arguments.count],
        version / ONNX_FILE,
        lambda found: np.savez_compressed(arguments.output, model=digest, **found),
    )


if __name__ == "__main__":
    main()
