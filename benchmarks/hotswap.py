"""Promote and roll back while a client asks without pause: no request may fail, no answer may lie about its version.

    python -m benchmarks.hotswap --rounds 20

Starts its own Triton on free ports with a copy of the model repository and a registry of its own. Each round promotes a
second model (the served graph with another bias) and rolls it back. Prints one JSON object:

* ``requests``, and of these ``failed``;
* ``wrong_version``: answers with a version that was never served, or that was replaced before the request was sent;
* ``wrong_score``: answers whose probability is not that version's offline score;
* ``longest_stall_ms``: the longest time in which no answer came, ``longest_request_ms``: the slowest request.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import VeriphotoError
from veriphoto.manifest import ONNX_FILE, Manifest, latest_version, read_manifest
from veriphoto_client import Detector
from veriphoto_release.adoption import adopt, example
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.candidate import load_candidate
from veriphoto_release.promotion import Place, promote, rollback
from veriphoto_release.registration import register
from veriphoto_release.registry import Registry
from veriphoto_release.triton import GOLDEN_ID, find_triton
from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import TritonOptions

ROOT = Path(__file__).parent.parent
SHIFT = 0.8
"""By how much the second model's logits differ: far more than any tolerance."""
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Asked:
    """One request."""

    sent: float
    answered: float
    picture: int
    version: int
    probability: float
    error: str = ""


def ask(url: str, pictures: Sequence[bytes], threads: int, stop: Any, answers: Any) -> None:
    """The client, in a process of its own: asks without pause until told to stop."""
    found: list[Asked] = []

    def one(start: int) -> None:
        number = start
        with Detector(f"http://{url}", service="triton") as detector:
            while not stop.is_set():
                picture = number % len(pictures)
                number += 1
                sent = time.monotonic()
                try:
                    answer = detector.predict(pictures[picture], request_id=GOLDEN_ID)
                    score = answer.second_opinion.first_probability
                    found.append(Asked(sent, time.monotonic(), picture, answer.verdict.model_version, score))
                except VeriphotoError as error:
                    found.append(Asked(sent, time.monotonic(), picture, 0, 0.0, str(error)))

    running = [threading.Thread(target=one, args=(at,)) for at in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    answers.put(found)


def another(directory: Path) -> tuple[onnx.ModelProto, Manifest]:
    """Returns the graph of a version with its bias shifted, and the version's manifest."""
    model, manifest = onnx.load(directory / ONNX_FILE), read_manifest(directory)
    for constant in model.graph.initializer:
        values = onnx.numpy_helper.to_array(constant)
        if values.size == 1 and np.isclose(float(values.ravel()[0]), manifest.evidence_bias, atol=1e-6):
            constant.CopyFrom(onnx.numpy_helper.from_array(values + np.float32(SHIFT), constant.name))
            return model, manifest
    raise SystemExit("the graph has no bias to shift")


def run(rounds: int, threads: int, folder: Path) -> dict[str, Any]:
    """Runs the benchmark.

    Args:
        rounds: Promotions, and as many rollbacks.
        threads: Requests in flight.
        folder: For everything it writes.

    Returns:
        The figures.
    """
    repository = folder / "repository"
    shutil.copytree(ROOT / "model_repository", repository, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    pictures = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix in {".jpg", ".png", ".webp"})[:6]
    registry = Registry(folder / "var", uri=f"sqlite:///{folder / 'var' / 'mlflow.db'}")
    first = adopt(registry, repository, pictures)
    model, manifest = another(latest_version(repository / CLASSIFIER))
    bundle = ModelBundle(graph=model, findings=manifest.findings, evidence_bias=manifest.evidence_bias + SHIFT)
    second = register(bundle, registry=registry, example=example(pictures))
    options = TritonOptions(model_repository=repository, var=folder / "var", http_port=0, grpc_port=0, metrics_port=0)
    swaps: list[tuple[float, float, int]] = []
    with TritonServer(options) as server:
        place = Place(
            registry=registry,
            repository=repository,
            triton=find_triton(folder / "var", repository, url=server.http_url),
            golden=pictures[:2],
        )
        data = [path.read_bytes() for path in pictures]
        spawn = multiprocessing.get_context("spawn")
        stop, answers = spawn.Event(), spawn.Queue()
        client = spawn.Process(target=ask, args=(server.http_url, data, threads, stop, answers))
        client.start()
        try:
            for _ in range(rounds):
                for change in (
                    partial(promote, str(second.number), place, judge=lambda *_: []),
                    partial(rollback, place),
                ):
                    began = time.monotonic()
                    version = change().version
                    swaps.append((began, time.monotonic(), version))
                    sys.stderr.write(f"version {version} after {swaps[-1][1] - began:.1f} s\n")
        finally:
            stop.set()
            found: list[Asked] = answers.get(timeout=120)
            client.join()
    expected = {
        model.number: [load_candidate(registry.download(model), "offline").probability(each) for each in data]
        for model in (first, registry.find(str(second.number)))
        if model is not None
    }
    served = {each.version: model.number for each, model in registry.history()}
    return judge(found, served, expected, swaps)


def judge(
    found: list[Asked],
    served: dict[int, int],
    expected: dict[int, list[float]],
    swaps: list[tuple[float, float, int]],
) -> dict[str, Any]:
    """Counts what went wrong.

    Args:
        found: All requests.
        served: Version -> model.
        expected: Model -> offline probability of each picture.
        swaps: Start, end and version of each change.

    Returns:
        The figures.
    """
    good = [each for each in found if not each.error]
    times = sorted(each.answered for each in good)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    seconds = sorted(end - began for began, end, _ in swaps)
    return {
        "requests": len(found),
        "failed": len(found) - len(good),
        "wrong_version": sum(not _possible(each, served, swaps) for each in good),
        "wrong_score": sum(
            each.version in served
            and not abs(each.probability - expected[served[each.version]][each.picture]) <= TOLERANCE
            for each in good
        ),
        "longest_stall_ms": round(1000 * max(gaps, default=0.0), 1),
        "longest_request_ms": round(1000 * max((each.answered - each.sent for each in good), default=0.0), 1),
        "versions_seen": len({each.version for each in good}),
        "swaps": len(swaps),
        "swap_s_median": round(seconds[len(seconds) // 2], 2) if seconds else None,
        "errors": sorted({each.error for each in found if each.error})[:5],
    }


def _possible(each: Asked, served: dict[int, int], swaps: list[tuple[float, float, int]]) -> bool:
    if each.version not in served:
        return False
    newest_before = max((version for _, end, version in swaps if end <= each.sent), default=0)
    newest_after = max((version for began, _, version in swaps if began <= each.answered), default=each.version)
    return newest_before <= each.version <= newest_after


def main() -> None:
    """Runs the benchmark from the command line; exits with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--in-flight", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(arguments.rounds, arguments.in_flight, Path(folder))
    print(json.dumps(figures))
    if figures["failed"] or figures["wrong_version"] or figures["wrong_score"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
