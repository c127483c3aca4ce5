"""The network on a GPU: TensorRT plan, ONNX Runtime CUDA, PyTorch eager and compiled, batches of 1 to 256 crops.

    python -m benchmarks.gpu               # skipped, with the reason, where there is no GPU or no library for it

Measures inference alone on data that lies on the GPU already: seconds a batch, synchronised, median of many.
Writes benchmarks/results/gpu.{json,md}.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from benchmarks.engine import REPOSITORY
from benchmarks.saving import save, save_table

from veriphoto.contract import CLASSIFIER, CONTRACT, CROPS
from veriphoto.manifest import ONNX_FILE, latest_version

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Crops; a picture has ``CONTRACT.crops`` of them, so that the served graph runs the next whole picture."""


def reason_to_skip() -> str:
    """Says why nothing can be measured; empty where it can."""
    try:
        import torch  # noqa: PLC0415 - only where it is needed
    except ImportError:
        return "PyTorch is not installed"
    return "" if torch.cuda.is_available() else "there is no NVIDIA GPU that PyTorch can use"


def seconds(work: Callable[[], object], wait: Callable[[], None], times: int) -> float:
    """Returns the median time of some work on the GPU."""
    for _ in range(5):
        work()
    wait()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        wait()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def torch_rows(times: int) -> list[dict[str, Any]]:
    """Measures PyTorch, eager and compiled, in half precision as a plan would run."""
    import timm  # noqa: PLC0415
    import torch  # noqa: PLC0415

    model = timm.create_model("efficientnet_b0", num_classes=1).eval().cuda().half()
    model = model.to(memory_format=torch.channels_last)
    rows = []
    with torch.inference_mode():
        for name, run in (("PyTorch eager", model), ("PyTorch compiled", torch.compile(model, mode="max-autotune"))):
            for batch in BATCHES:
                size = CONTRACT.crop_size
                data = torch.rand(batch, 3, size, size, device="cuda", dtype=torch.half)
                data = data.to(memory_format=torch.channels_last)
                took = seconds(partial(run, data), torch.cuda.synchronize, times)
                rows.append(_row(name, batch, took))
    return rows


def onnx_rows(provider: str, name: str, times: int) -> list[dict[str, Any]]:
    """Measures the served graph in ONNX Runtime on one of its GPU providers."""
    if provider not in onnxruntime.get_available_providers():
        return [{"runs": name, "note": f"this onnxruntime has no {provider}"}]
    path = latest_version(REPOSITORY / CLASSIFIER) / ONNX_FILE
    options = {"trt_fp16_enable": True} if "Tensorrt" in provider else {}
    session = onnxruntime.InferenceSession(str(path), providers=[(provider, options), "CPUExecutionProvider"])
    rows = []
    for pictures in dict.fromkeys(-(-batch // CONTRACT.crops) for batch in BATCHES):
        shape = (pictures, CONTRACT.crops, CONTRACT.crop_size, CONTRACT.crop_size, 3)
        crops = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        binding = session.io_binding()
        binding.bind_ortvalue_input(CROPS, onnxruntime.OrtValue.ortvalue_from_numpy(crops, "cuda", 0))
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda")
        took = seconds(partial(session.run_with_iobinding, binding), binding.synchronize_outputs, times)
        rows.append(_row(name, pictures * CONTRACT.crops, took))
    return rows


def _row(name: str, crops: int, took: float) -> dict[str, Any]:
    return {
        "runs": name,
        "crops": crops,
        "ms": round(1000.0 * took, 3),
        "crops_per_s": round(crops / took, 1),
        "pictures_per_s": round(crops / took / CONTRACT.crops, 1),
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    reason = reason_to_skip()
    if reason:
        print(f"skipped: {reason}")
        save("gpu", {"command": "python -m benchmarks.gpu", "skipped": reason})
        return
    times = 10 if arguments.quick else 100
    rows = onnx_rows("TensorrtExecutionProvider", "TensorRT plan (built by ONNX Runtime)", times)
    rows += onnx_rows("CUDAExecutionProvider", "ONNX Runtime CUDA", times)
    rows += torch_rows(times)
    save("gpu", {"command": "python -m benchmarks.gpu", "rows": rows})
    save_table("gpu", "GPU, inference alone", rows)


if __name__ == "__main__":
    main()
