"""The model version as it travels to the actors, and the judge that an actor makes of it."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from veriphoto.contract import CROPS, EVIDENCE, LOGIT, OPERATING_POINT, PROBABILITY, STATISTICS
from veriphoto.errors import ImageError, MissingExtraError
from veriphoto.manifest import latest_version, read_manifest, sha256_file, verify_onnx
from veriphoto.preprocessing import preprocess
from veriphoto.variants import choose
from veriphoto_client._codec import decode_answer
from veriphoto_client.scan.rows import Row, failed, scored

Session: TypeAlias = Callable[[npt.NDArray[np.uint8]], list[npt.NDArray[np.float32]]]
"""UINT8 [1, K, S, S, 3] in, the tensors of ``_OUTPUTS`` out."""

_OUTPUTS: Final = (PROBABILITY, LOGIT, EVIDENCE, OPERATING_POINT)


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A version's graph: actors need no model repository on their node."""

    graph: bytes
    sha256: str
    """Of the graph."""
    version: int
    precision: str
    """OpenVINO's hint; empty for ONNX Runtime."""

    @classmethod
    def read(cls, model: Path, variant: str) -> ModelPackage:
        """Reads and checks a version.

        Args:
            model: A version directory, or the model's directory, of which the newest version is taken.
            variant: A name of ``veriphoto.variants``, or ``AUTO``.

        Raises:
            ModelError: If the version must not be used, or does not have the variant.
        """
        directory = model if model.name.isdigit() else latest_version(model)
        manifest = read_manifest(directory)
        verify_onnx(directory, manifest)
        setup = choose(directory, manifest, variant)
        file = directory / setup.file
        return cls(file.read_bytes(), sha256_file(file), manifest.model_version, setup.precision)

    def open(self) -> Judge:
        """Loads the graph, for one thread.

        Raises:
            MissingExtraError: If the package that runs it is not installed.
        """
        try:
            return Judge(_openvino(self.graph, self.precision) if self.precision else _onnxruntime(self.graph))
        except ModuleNotFoundError as error:
            raise MissingExtraError("openvino" if self.precision else "ray", error.name) from error


class Judge:
    """Makes a row of a picture's bytes, by the steps that the served ensemble takes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, data: bytes) -> Row:
        """Scores one file.

        Args:
            data: Its bytes.

        Returns:
            Its row, without a path; one with an error if the picture cannot be scored.
        """
        try:
            prepared = preprocess(data)
        except ImageError as error:
            return failed("", error)
        outputs = dict(zip(_OUTPUTS, self._session(prepared.crops[None]), strict=True))
        tensors = {**outputs, STATISTICS: prepared.statistics[None]}
        return scored("", decode_answer(tensors))


def _onnxruntime(graph: bytes) -> Session:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda crops: list(session.run(_OUTPUTS, {CROPS: crops}))


def _openvino(graph: bytes, precision: str) -> Session:
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    core: Any = importlib.import_module("openvino").Core()
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(graph)
        file.flush()
        compiled = core.compile_model(file.name, "CPU", settings)
    request, outputs = compiled.create_infer_request(), [compiled.output(name) for name in _OUTPUTS]
    # Copied: the next picture overwrites what the request holds.
    return lambda crops: [np.array(found[each]) for found in [request.infer({CROPS: crops})] for each in outputs]
