"""Scoring in the process itself, with nothing between: what every server is measured against.

As a module it is a worker: each order is a block of seconds in which it reads, decodes, cuts and infers without pause.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from benchmarks.processes import orders, reply

from veriphoto.contract import CLASSIFIER, PROBABILITY
from veriphoto.manifest import latest_version, read_manifest
from veriphoto.preprocessing import preprocess
from veriphoto.sessions import OUTPUTS, open_session
from veriphoto.variants import AUTO, Setup, Variant, choose

REPOSITORY: Final = Path(__file__).parent.parent / "model_repository"

Network = Callable[[npt.NDArray[np.uint8]], float]


def network(variant: str = Variant.FP32, repository: Path = REPOSITORY) -> Network:
    """Opens the served version on one thread, exactly as the embedded classifier does.

    Args:
        variant: How it runs; see docs/variants.md.
        repository: The model repository.

    Returns:
        UINT8 [1, K, S, S, 3] -> probability.
    """
    directory, setup = _setup(variant, repository)
    run = open_session(directory / setup.file, setup.precision)
    at = OUTPUTS.index(PROBABILITY)
    return lambda crops: float(run(crops)[at].item())


def default_variant() -> Variant:
    """Returns what ``auto`` runs on this CPU."""
    return _setup(AUTO, REPOSITORY)[1].variant


def _setup(variant: str, repository: Path) -> tuple[Path, Setup]:
    directory = latest_version(repository / CLASSIFIER)
    return directory, choose(directory, read_manifest(directory), variant)


def session_options() -> Any:
    """Returns ONNX Runtime's options for one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


def score(file: Path, run: Network) -> float:
    """Scores one file: read, decode, cut, infer."""
    return run(preprocess(file.read_bytes()).crops[None])


def main() -> None:
    """Works through orders ``{"seconds": s}`` or ``{"count": n}``; answers with images, seconds and CPU seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default=str(Variant.FP32))
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    run = network(arguments.variant)
    files: list[Path] = arguments.files
    at = arguments.start
    for order in orders():
        started, cpu, done = time.perf_counter(), time.process_time(), 0
        until, most = started + order.get("seconds", 1e9), order.get("count", 1 << 60)
        while done < most and time.perf_counter() < until:
            score(files[at % len(files)], run)
            at += 1
            done += 1
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000.0
        seconds, used = time.perf_counter() - started, time.process_time() - cpu
        reply({"images": done, "seconds": seconds, "cpu": used, "rss_mb": rss})


if __name__ == "__main__":
    main()
