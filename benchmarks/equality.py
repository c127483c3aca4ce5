"""Do the served scores equal those of the reference path, on photos of all sizes and formats?

    python -m benchmarks.equality --photos DIR --count 500
    python -m benchmarks.equality --photos DIR --variant openvino-bf16      # what a variant changes

Each photo goes through the plain reference path and fp32 in this process, and through a running Triton. Exits with 1 if
a probability differs by more than 0.005, or a verdict flips that was not within that of a limit of its band.
Writes benchmarks/results/equality.json.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.engine import network
from benchmarks.reference import all_kinds, reference
from benchmarks.saving import save, suffix
from benchmarks.servers import triton

from veriphoto.contract import CONTRACT, SUFFIXES
from veriphoto.preprocessing import preprocess
from veriphoto.verdict import OperatingPoint, decide
from veriphoto_client import Detector

TOLERANCE = 0.005


def compare(files: list[Path], variant: str) -> dict[str, Any]:
    """Scores all files both ways.

    Args:
        files: Photos.
        variant: How the server runs the network.

    Returns:
        The figures.
    """
    run = network()
    differences, flips, excused, crops_differ, statistics_off = [], [], 0, 0, 0.0
    with triton(variant) as served, Detector(f"grpc://{served.triton.grpc_url}") as detector:
        for name, data in all_kinds(files):
            crops, statistics = reference(data)
            fast = preprocess(data)
            crops_differ += not np.array_equal(crops, fast.crops)
            for key, value in zip(CONTRACT.statistics, fast.statistics.tolist(), strict=True):
                statistics_off = max(statistics_off, abs(value - statistics[key]) / max(1.0, abs(statistics[key])))
            probability = run(crops[None])
            detection = detector.predict(data)
            point: OperatingPoint = detection.operating_point
            alone = detection.second_opinion.first_probability  # the plain way asks nobody else
            differences.append(abs(alone - probability))
            if decide(probability, statistics, point).verdict != decide(alone, statistics, point).verdict:
                near = min(abs(probability - limit) for limit in (point.threshold, point.unsure_low, point.unsure_high))
                if near <= TOLERANCE:
                    excused += 1
                else:
                    flips.append(name)
    return {
        "photos": len(differences),
        "largest_difference": float(np.max(differences)),
        "mean_difference": float(np.mean(differences)),
        "verdict_flips": len(flips),
        "flips_within_tolerance_of_a_limit": excused,
        "pictures_whose_crops_differ": crops_differ,
        "largest_relative_difference_of_a_statistic": statistics_off,
        "flipped": flips[:10],
    }


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--variant", default="fp32")
    arguments = parser.parse_args()
    found = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    random.Random(0).shuffle(found)  # noqa: S311 - a sample, not a secret
    figures = compare(found[: arguments.count], arguments.variant)
    ending = suffix(arguments.variant)
    command = f"python -m benchmarks.equality --count {arguments.count} --variant {arguments.variant}"
    # Names of other people's photos stay out of the file that is kept.
    save(f"equality{ending}", {"command": command, **{k: v for k, v in figures.items() if k != "flipped"}})
    print(json.dumps(figures, indent=1))
    if figures["largest_difference"] > TOLERANCE or figures["verdict_flips"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
