"""Cold start, start-up memory, and how the cost of a picture grows.

    python -m benchmarks.growth            # or --quick

* Cold start: from starting the launcher to ready, and to the first answer, with the memory held then.
* CPU milliseconds an image by stage (decode, crops and statistics, inference) at each picture size.
* Inference by crops (1 to 5, more than the served ones) and by pictures run together (1, 2, 4, 8, 16). Crops need a
  graph whose number of crops is free: the shipped one, cut off before its mean over them.
* Served images/s by number of instances of each step (1, 2, 3), in turns.

Writes benchmarks/results/growth.{json,md,png}.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import onnxruntime
from benchmarks.engine import REPOSITORY, network, session_options
from benchmarks.load import Load
from benchmarks.pictures import SIZES, contents, pictures
from benchmarks.processes import Worker, proportional_mb
from benchmarks.results import save, save_plot, save_table
from benchmarks.rounds import in_turns
from benchmarks.servers import measure, triton

from veriphoto.contract import CLASSIFIER, CONTRACT, CROPS
from veriphoto.decoding import decode
from veriphoto.manifest import ONNX_FILE, latest_version
from veriphoto.preprocessing import preprocess

_CROPS = range(1, 6)


def cpu_ms(work: Callable[[], object], times: int) -> float:
    """Returns the median CPU time of some work, in milliseconds, after one run that does not count."""
    work()
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return round(1000.0 * statistics.median(found), 2)


def cold_start(times: int) -> list[dict[str, Any]]:
    """Starts Triton anew each time and asks it once."""
    picture = contents(pictures("1", 1))
    rows = []
    for _ in range(times):
        started = time.perf_counter()
        with triton() as served:
            ready = time.perf_counter() - started
            Load(picture).closed("raw", served.raw_url, 1, 1e-3)
            first = time.perf_counter() - started
            held = proportional_mb(served.triton_pids)
        rows.append({"ready_s": round(ready, 2), "first_answer_s": round(first, 2), "memory_mb": round(held, 1)})
    return rows


def by_size(times: int, photos: Path | None) -> list[dict[str, Any]]:
    """Measures the stages at each picture size."""
    run = network()
    rows = []
    for size in SIZES:
        data = contents(pictures(size, 4, photos))[-1]
        crops = preprocess(data).crops[None]
        whole = cpu_ms(lambda d=data: preprocess(d), times)
        decoding = cpu_ms(lambda d=data: decode(d), times)
        inference = cpu_ms(lambda c=crops: run(c), times)
        rows.append(
            {
                "megapixels": float(size),
                "bytes": len(data),
                "decode_ms": decoding,
                "crops_and_statistics_ms": round(whole - decoding, 2),
                "inference_ms": inference,
                "images_per_s_per_core": round(1000.0 / (whole + inference), 2),
            }
        )
    return rows


def by_crops(times: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measures inference by crops, and by pictures that run together."""
    path = latest_version(REPOSITORY / CLASSIFIER) / ONNX_FILE
    size = CONTRACT.crop_size
    random = np.random.default_rng(0)
    rows, batches = [], []
    with tempfile.TemporaryDirectory() as folder:
        trunk = _free_crops(path, Path(folder) / "trunk.onnx")
        session = onnxruntime.InferenceSession(str(trunk), session_options(), providers=["CPUExecutionProvider"])
        for crops in _CROPS:
            data = random.integers(0, 256, (1, crops, size, size, 3), dtype=np.uint8)
            took = cpu_ms(lambda d=data: session.run(None, {CROPS: d}), times)
            rows.append({"crops": crops, "pictures": 1, "ms_per_picture": took, "ms_per_crop": round(took / crops, 2)})
    session = onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 4, 8, 16):
        data = random.integers(0, 256, (batch, CONTRACT.crops, size, size, 3), dtype=np.uint8)
        took = cpu_ms(lambda d=data: session.run(None, {CROPS: d}), max(2, times // batch))
        per_picture = round(took / batch, 2)
        per_crop = round(per_picture / CONTRACT.crops, 2)
        batches.append(
            {"crops": CONTRACT.crops, "pictures": batch, "ms_per_picture": per_picture, "ms_per_crop": per_crop}
        )
    return rows, batches


def _free_crops(path: Path, to: Path) -> Path:
    model = onnx.load(path)
    last = next(node for node in reversed(model.graph.node) if node.op_type == "Conv")
    onnx.utils.extract_model(str(path), str(to), [CROPS], [last.output[0]])
    cut = onnx.load(to)
    free = cut.graph.input[0].type.tensor_type.shape.dim[1]
    free.Clear()
    free.dim_param = "crops"
    onnx.save(cut, to)
    return to


def by_instances(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measures served throughput with so many instances of both steps; one server at a time, in turns."""
    names = [str(file) for file in pictures("1", 64)]
    counts = [(1, 1), (1, 2), (2, 2), (3, 3)]

    def block(steps: tuple[int, int]) -> Callable[[], dict[str, Any]]:
        def run() -> dict[str, Any]:
            with tempfile.TemporaryDirectory() as at, triton(repository=_repository(Path(at), *steps)) as served:
                order = {"loop": "closed", "way": "raw", "url": served.raw_url, "width": 8, "seconds": seconds}
                load.ask(order)
                return measure(load, order, served.triton_pids)

        return run

    with Worker("benchmarks.load", *names) as load:
        turns = in_turns({f"{a} and {b}": block((a, b)) for a, b in counts}, rounds)
    keys = ("images_per_s", "p50_ms", "p99_ms", "cpu_ms_per_image", "peak_rss_mb")
    return [
        {
            "preprocess and classifier": f"{a} and {b}",
            **{key: turns.median(f"{a} and {b}", key) for key in keys},
            "over 2 and 2": turns.ratio(f"{a} and {b}", "2 and 2")["median"],
        }
        for a, b in counts
    ]


def _repository(at: Path, preprocessors: int, classifiers: int) -> Path:
    copy = at / "repository"
    shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for config, count in (
        (copy / "preprocess" / "config.pbtxt", preprocessors),
        (copy / CLASSIFIER / "configs" / "embedded.pbtxt", classifiers),
    ):
        text = config.read_text(encoding="utf-8")
        config.write_text(re.sub(r"count: \d+ kind: KIND_CPU", f"count: {count} kind: KIND_CPU", text))
    return copy


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    times = 3 if arguments.quick else 15
    starts = cold_start(1 if arguments.quick else 5)
    sizes, (alone, together) = by_size(times, arguments.photos), by_crops(times)
    crops = [*alone, *together]
    instances = by_instances(1 if arguments.quick else 3, 1.5 if arguments.quick else 4.0)
    body = {"command": "python -m benchmarks.growth", "cold_start": starts, "sizes": sizes, "crops": crops}
    save("growth", {**body, "instances": instances})
    save_table("growth_cold_start", "Cold start", starts)
    save_table("growth_sizes", "CPU time of one picture by size, one core", sizes)
    save_table("growth_crops", "Inference by crops and by pictures run together, one core", crops)
    save_table("growth_instances", "Instances of preprocess and classifier, concurrency 8", instances)
    lines = {
        "inference by crops": [(row["crops"], row["ms_per_picture"]) for row in alone],
        "a picture, by pictures together": [(row["pictures"], row["ms_per_picture"]) for row in together],
    }
    save_plot("growth", "Inference, one core", "crops, or pictures together", "CPU ms a picture", lines)


if __name__ == "__main__":
    main()
