"""Triton glue of the ``embedded`` classifier: runs a version on one thread, as ``VERIPHOTO_VARIANT`` says.

``fp32`` (the default) is ``model.onnx`` with onnxruntime; ``auto`` is the fastest variant measured on this kind
of CPU and accepted (``variants.json``), else fp32; any other name of that file is what it names.
Refuses a version whose manifest is for another contract or describes another ``model.onnx``.
"""

from __future__ import annotations

import importlib
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import triton_python_backend_utils as pb_utils

from veriphoto.contract import CROPS, EVIDENCE, LOGIT, OPERATING_POINT, PROBABILITY
from veriphoto.errors import ModelError
from veriphoto.manifest import ONNX_FILE, read_manifest, sha256_file, verify_onnx

Run = Callable[[npt.NDArray[np.uint8]], list[npt.NDArray[np.float32]]]
OUTPUTS = (PROBABILITY, LOGIT, EVIDENCE, OPERATING_POINT)
FP32 = "fp32"
# Variant: the file it runs, and OpenVINO's precision where it is OpenVINO that runs it.
VARIANTS = {
    FP32: (ONNX_FILE, ""),
    "int8": ("model.int8.onnx", ""),
    "openvino-fp32": (ONNX_FILE, "f32"),
    "openvino-bf16": (ONNX_FILE, "bf16"),
    "openvino-int8": ("model.int8.onnx", "f32"),
}


class TritonPythonModel:
    """One instance, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the version that Triton names."""
        directory = Path(args["model_repository"]) / args["model_version"]
        try:
            manifest = read_manifest(directory)
            verify_onnx(directory, manifest)
            self._picture = _open(directory, manifest.onnx_sha256, os.environ.get("VERIPHOTO_VARIANT") or FP32)
        except ModelError as error:
            raise pb_utils.TritonModelException(error.to_wire()) from None

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers every request, each with its own response."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            arrays = self._run(pb_utils.get_input_tensor_by_name(request, CROPS).as_numpy())
        except Exception as error:  # noqa: BLE001  the caller gets no stack trace, the log no picture
            place = traceback.extract_tb(error.__traceback__)[-1]
            pb_utils.Logger.log_error(f"classifier failed: {type(error).__name__} in {place.name}, line {place.lineno}")
            message = "internal error in classifier; see the server's log"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INTERNAL))
        tensors = [pb_utils.Tensor(name, array) for name, array in zip(OUTPUTS, arrays, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _run(self, crops: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        # Picture by picture: 16 at once take a third longer each (they leave the cache) and 2 GB instead of 0.2.
        runs = [self._picture(crops[index : index + 1]) for index in range(len(crops))]
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]


def _open(directory: Path, sha256: str, wanted: str) -> Run:
    rows = {} if wanted == FP32 else _measured(directory, sha256, here=wanted == "auto")
    name = rows.get("fastest", FP32) if wanted == "auto" else wanted
    if name not in VARIANTS:
        raise ModelError(f"there is no variant '{name}'; choose auto or one of {', '.join(VARIANTS)}")
    if name != FP32:
        row = next((row for row in rows.get("rows", ()) if row["variant"] == name), None)
        if row is None or not row["accepted"] or sha256_file(directory / VARIANTS[name][0]) != row["sha256"]:
            raise ModelError(f"variant '{name}' was not built or not accepted; see: veriphoto export --variants")
    file, precision = VARIANTS[name]
    return _openvino(directory / file, precision) if precision else _onnxruntime(directory / file)


def _measured(directory: Path, sha256: str, *, here: bool) -> dict[str, Any]:
    """What was measured of this graph; with ``here``, nothing unless on this kind of CPU and if it can run."""
    try:
        found: dict[str, Any] = json.loads((directory / "variants.json").read_text(encoding="utf-8"))
        same_cpu = f": {found['cpu']}\n" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if here and found["fastest"].startswith("openvino"):
            importlib.import_module("openvino")
    except (OSError, ValueError, KeyError, ImportError):
        return {}
    return found if found.get("onnx_sha256") == sha256 and (same_cpu or not here) else {}


def _onnxruntime(path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda crops: session.run(OUTPUTS, {CROPS: crops})


def _openvino(path: Path, precision: str) -> Run:
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = importlib.import_module("openvino").Core().compile_model(str(path), "CPU", settings)
    request, outputs = compiled.create_infer_request(), [compiled.output(name) for name in OUTPUTS]

    def run(crops: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        answer = request.infer({CROPS: crops})
        return [np.array(answer[output]) for output in outputs]

    return run
