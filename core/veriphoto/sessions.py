"""Runs a version's graph on a CPU: one way for the server, the catalogue scan, measurements and benchmarks.

The runtimes are no needs of the core's: whoever opens a session brings the one that its variant names.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CROPS, EVIDENCE, LOGIT, OPERATING_POINT, PROBABILITY

OUTPUTS: Final = (PROBABILITY, LOGIT, EVIDENCE, OPERATING_POINT)

PROCESS_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Environment of a process that scores photos beside others of its kind. numpy starts no thread for each core. glibc
keeps up to 128 MB that were freed, on huge pages where the kernel has them: by default it gives each picture's pixels
back to the kernel and takes them anew, page by page, for the next one, a quarter of the time that preparing a picture
takes; and a network's memory needs more small pages than the processor remembers."""

Session: TypeAlias = Callable[[npt.NDArray[np.uint8]], list[npt.NDArray[np.float32]]]
"""UINT8 [N, K, S, S, 3] in, the tensors of ``OUTPUTS`` out."""


def open_session(
    graph: Path | bytes,
    precision: str = "",
    threads: int = 1,
    outputs: Sequence[str] = OUTPUTS,
    settings: Mapping[str, Any] | None = None,
) -> Session:
    """Loads a graph.

    Args:
        graph: An ONNX file, or its content.
        precision: OpenVINO's hint; empty for ONNX Runtime.
        threads: How many it may use. Servers give one: their instances are the parallelism.
        outputs: Tensors to return, in order.
        settings: More of OpenVINO's.

    Returns:
        What runs it; not for several threads at once.

    Raises:
        ModuleNotFoundError: If the runtime is not installed.
    """
    if not precision:
        session = _onnxruntime(graph, threads, outputs)
    else:
        more = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, **(settings or {})}
        session = _openvino(graph, more, outputs)
    _give_back()
    return session


def _give_back() -> None:
    """Returns what loading took and freed: servers have glibc keep freed memory, which here is never needed again."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)


def _onnxruntime(graph: Path | bytes, threads: int, outputs: Sequence[str]) -> Session:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda crops: list(session.run(outputs, {CROPS: crops}))


def _openvino(graph: Path | bytes, settings: Mapping[str, Any], outputs: Sequence[str]) -> Session:
    core: Any = importlib.import_module("openvino").Core()
    if isinstance(graph, bytes):  # it reads ONNX from files only
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(graph)
            file.flush()
            return _compiled(core, file.name, settings, outputs)
    return _compiled(core, str(graph), settings, outputs)


def _compiled(core: Any, path: str, settings: Mapping[str, Any], names: Sequence[str]) -> Session:
    chosen = {
        **settings,
        "NUM_STREAMS": 1,
        # By default it runs on the first core while it infers: in every process alike, so that the others stand idle.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = core.compile_model(path, "CPU", chosen)
    request, outputs = compiled.create_infer_request(), [compiled.output(name) for name in names]
    # Copied: the next picture overwrites what the request holds.
    return lambda crops: [np.array(found[each]) for found in [request.infer({CROPS: crops})] for each in outputs]
