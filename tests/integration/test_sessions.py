"""How a graph runs on a CPU: the shipped one, in the real runtimes."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from veriphoto.contract import CLASSIFIER, CONTRACT
from veriphoto.manifest import ONNX_FILE, latest_version
from veriphoto.sessions import open_session

REPOSITORY = Path(__file__).parents[2] / "model_repository"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="affinity is Linux's")
@pytest.mark.parametrize("precision", ["", "f32", "bf16"])
def test_a_session_keeps_to_no_core(precision: str) -> None:
    # Two servers' stubs that each run on "the first core" share it, and every other core stands idle.
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core")
    if precision and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    run = open_session(latest_version(REPOSITORY / CLASSIFIER) / ONNX_FILE, precision)
    crops = np.zeros((1, CONTRACT.crops, CONTRACT.crop_size, CONTRACT.crop_size, 3), np.uint8)
    inferring, seen, over = threading.get_native_id(), Counter[int](), threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen[len(os.sched_getaffinity(inferring))] += 1

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(5):
            run(crops)
    finally:
        over.set()
        watcher.join()
    assert set(seen) == {len(cores)}
