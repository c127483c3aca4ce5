"""What logging costs: the same Triton with and without the recorder as the ensemble's last step, in turns.

    python -m benchmarks.recorder --rounds 15

Two servers run side by side and one of them is asked at a time, in blocks in random order, so that whatever else the
machine does falls on both. Twice: with the shipped models, and with a decoder and a network that answer at once,
where the recorder's own CPU time is not lost in the noise of the network's. Prints one JSON object and writes
benchmarks/results/recorder.json:

* ``throughput_ratio``: images/s with the recorder over images/s without, by round, and where its median lies (95 %);
* ``cpu_ratio``: the same of the server's CPU time an image, which a busy machine disturbs less;
* ``recorder_cpu_ms``: CPU time that the recorder adds to an image, from the models that answer without looking;
* ``recorder_cpu_share``: that over the CPU time of an image: what logging costs a server whose cores are all busy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.pictures import SIZES, pictures
from benchmarks.processes import Worker
from benchmarks.rounds import Block, Measured, in_turns, spread
from benchmarks.saving import save
from benchmarks.servers import ROOT, Served, measure, triton

from veriphoto.contract import CLASSIFIER, ENSEMBLE, PREPROCESS, RECORDER
from veriphoto.prediction_log.record import SEGMENT_GLOB

WITH, WITHOUT = "with recorder", "without"
REPOSITORY = ROOT / "model_repository"

INSTANT = """
import numpy as np
import triton_python_backend_utils as pb_utils

from veriphoto.contract import CONTRACT as C

ANSWER = {answer}

class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.Tensor(name, value) for name, value in ANSWER.items()]
        return [pb_utils.InferenceResponse(tensors) for _ in requests]
"""
MEASURED = "dict(STATISTICS=np.array([[1152, 896, 95000, 0, 80, 128, 40, 20, 1, 1]], np.float32)"
ANSWERS = {
    PREPROCESS: f"{MEASURED}, CROPS=np.zeros((1, C.crops, C.crop_size, C.crop_size, 3), np.uint8))",
    CLASSIFIER: "dict(PROBABILITY=np.full((1, 1), 0.5, np.float32), LOGIT=np.zeros((1, 1), np.float32),"
    " EVIDENCE=np.zeros((1, C.crops, C.grid, C.grid), np.float32),"
    " OPERATING_POINT=np.array([[1, .5, .4, .6, 96, 3]], np.float32))",
}


def copy(at: Path, *, recorder: bool, instant: bool) -> Path:
    """Copies the model repository.

    Args:
        at: Where to.
        recorder: Whether the ensemble keeps its last step.
        instant: Whether its first two answer without looking.

    Returns:
        The copy.
    """
    left_out = ["__pycache__"] + [RECORDER] * (not recorder)
    shutil.copytree(REPOSITORY, at, ignore=shutil.ignore_patterns(*left_out))
    if not recorder:
        config = at / ENSEMBLE / "config.pbtxt"
        steps = config.read_text(encoding="utf-8").replace("UNRECORDED_", "")
        cut = steps.index(f'    {{\n      model_name: "{RECORDER}"')
        config.write_text(steps[:cut].rstrip().removesuffix(",") + "\n  ]\n}\n", encoding="utf-8")
    if instant:
        for model, answer in ANSWERS.items():
            for file in (at / model).glob("*/model.py"):
                file.write_text(INSTANT.replace("{answer}", answer), encoding="utf-8")
    return at


def lines(served: Served) -> int:
    """Counts what the log holds."""
    directory = served.triton.options.predictions
    return sum(path.read_bytes().count(b"\n") for path in directory.glob(SEGMENT_GLOB)) if directory else 0


def compare(order: dict[str, Any], files: Sequence[Path], rounds: int, variant: str, *, instant: bool) -> Measured:
    """Measures both sides.

    Args:
        order: For the load generator, but for the address.
        files: What to send.
        rounds: Blocks of each side.
        variant: What the classifier runs.
        instant: Whether decoder and network answer without looking.

    Raises:
        SystemExit: If the log missed an image.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = {
            name: stack.enter_context(
                triton(variant, copy(folder / name.split()[0], recorder=name == WITH, instant=instant))
            )
            for name in (WITH, WITHOUT)
        }
        load = stack.enter_context(Worker("benchmarks.load", *map(str, files)))

        def block(served: Served) -> Block:
            return lambda: measure(load, {**order, "url": served.raw_url}, served.triton_pids)

        measured = in_turns({name: block(served) for name, served in sides.items()}, rounds)
        scored = sum(each["images"] for each in measured.blocks[WITH])
        if lines(sides[WITH]) < scored:  # the first block does not count, and is in the log too
            raise SystemExit(f"{scored} images were scored, and the log holds {lines(sides[WITH])} lines")
    return measured


def by_round(measured: Measured, key: str) -> list[tuple[float, float]]:
    """Returns a figure of both sides, with the recorder first."""
    sides = zip(measured.blocks[WITH], measured.blocks[WITHOUT], strict=True)
    return [(float(mine[key]), float(theirs[key])) for mine, theirs in sides]


def figures(shipped: Measured, instant: Measured) -> dict[str, Any]:
    """Works out what the recorder costs."""
    rates = [mine / theirs for mine, theirs in by_round(shipped, "images_per_s")]
    cpu = [mine / theirs for mine, theirs in by_round(shipped, "cpu_ms_per_image")]
    added = [mine - theirs for mine, theirs in by_round(instant, "cpu_ms_per_image")]
    image = shipped.median(WITHOUT, "cpu_ms_per_image") or float("nan")
    keys = ("images_per_s", "cpu_ms_per_image", "p50_ms", "p99_ms")
    return {
        "throughput_ratio": spread(rates),
        "cpu_ratio": spread(cpu),
        "recorder_cpu_ms": spread(added),
        "recorder_cpu_share": round(statistics.median(added) / image, 4),
        "medians": {
            f"{name}, {models}": {key: measured.median(name, key) for key in keys}
            for models, measured in (("shipped models", shipped), ("instant models", instant))
            for name in (WITH, WITHOUT)
        },
    }


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one block")
    parser.add_argument("--width", type=int, default=4, help="requests in flight")
    parser.add_argument("--megapixels", choices=SIZES, default="0.2")
    parser.add_argument("--variant", default="auto")
    arguments = parser.parse_args()
    order = {"loop": "closed", "way": "raw", "width": arguments.width, "seconds": arguments.seconds}
    files = pictures(arguments.megapixels, 32)
    instant, shipped = (
        compare(order, files, arguments.rounds, arguments.variant, instant=each) for each in (True, False)
    )
    found = {**figures(shipped, instant), "settings": vars(arguments)}
    save("recorder", found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
