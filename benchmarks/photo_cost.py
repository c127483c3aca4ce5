"""What a photo costs in one process: a worker that imports whichever ``veriphoto`` its PYTHONPATH names.

    python -m benchmarks.photo_cost ROOT FILES...

ROOT is the tree whose newest model version runs. An order ``{"count": n}`` is answered with CPU milliseconds of so
many photos, and of the network in them. Uses nothing that the commit compared with does not have.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import onnxruntime
from benchmarks.processes import orders, reply

import veriphoto
from veriphoto.preprocessing import preprocess


def main() -> None:
    """Works through orders."""
    root, files = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    if not Path(str(veriphoto.__file__)).is_relative_to(root):
        raise SystemExit(f"{veriphoto.__file__} is not of {root}")
    versions = (root / "model_repository" / "classifier").glob("[0-9]*/model.onnx")
    newest = max(versions, key=lambda path: int(path.parent.name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(newest), options, providers=["CPUExecutionProvider"])
    for order in orders():
        network, begun, cpu = 0.0, time.perf_counter(), time.process_time()
        for number in range(order["count"]):
            crops = preprocess(files[number % len(files)].read_bytes()).crops[None]
            at = time.process_time()
            session.run(None, {"CROPS": crops})
            network += time.process_time() - at
        took = time.process_time() - cpu
        reply(
            {
                "images_per_s": order["count"] / (time.perf_counter() - begun),
                "cpu_ms_per_image": round(1000 * took / order["count"], 3),
                "network_ms": round(1000 * network / order["count"], 3),
            }
        )


if __name__ == "__main__":
    main()
