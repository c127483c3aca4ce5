"""Calibrated scores of a published version or of a checkpoint, behind one protocol.

A published version is scored through core's preprocessing and its own graph, exactly as a shop's pictures will be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from veriphoto.contract import CONTRACT, CROPS, EVIDENCE, LOGIT, PROBABILITY
from veriphoto.errors import MissingExtraError
from veriphoto.manifest import FINDINGS_FILE, ONNX_FILE, Findings, latest_version, read_manifest, verify_onnx
from veriphoto_training.network.model import load_checkpoint, normalise
from veriphoto_training.scoring.logits import Crops, Floats, crop_logits, scoring_size

Evidence = npt.NDArray[np.float32]


class Scorer(Protocol):
    """A model with its operating point."""

    name: str
    """What reports call it."""
    findings: Findings
    file: Path
    """The model itself."""

    def logits(self, crops: Crops) -> Floats:
        """Returns calibrated logits FP64 [N] of UINT8 crops [N, K, S, S, 3]."""
        ...

    def evidence(self, crops: Crops) -> Evidence:
        """Returns contributions to the logit, FP32 [N, K, G, G], of UINT8 crops [N, K, S, S, 3]."""
        ...


class OnnxScorer:
    """A published version, through ONNX Runtime on the CPU."""

    def __init__(self, directory: Path, threads: int = 0) -> None:
        """Loads a version.

        Args:
            directory: ``model_repository/classifier/N``, or ``model_repository/classifier`` for its newest version.
            threads: Threads of ONNX Runtime; 0 lets it choose.

        Raises:
            ModelError: If the version must not be used.
            MissingExtraError: If ONNX Runtime is not installed.
        """
        try:
            import onnxruntime  # noqa: PLC0415 - of an extra
        except ImportError as error:
            raise MissingExtraError("train", "onnxruntime") from error
        self.directory = directory if (directory / ONNX_FILE).is_file() else latest_version(directory)
        self.manifest = read_manifest(self.directory)
        verify_onnx(self.directory, self.manifest)
        self.findings = self.manifest.findings
        self.name = f"version {self.manifest.model_version}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.file = self.directory / ONNX_FILE
        self._session: Any = onnxruntime.InferenceSession(str(self.file), options, providers=["CPUExecutionProvider"])

    def logits(self, crops: Crops) -> Floats:
        """Returns calibrated logits FP64 [N] of UINT8 crops [N, K, S, S, 3]."""
        return np.asarray(self._run(LOGIT, crops), dtype=np.float64).reshape(-1)

    def evidence(self, crops: Crops) -> Evidence:
        """Returns contributions to the logit, FP32 [N, K, G, G], of UINT8 crops [N, K, S, S, 3]."""
        shape = (len(crops), CONTRACT.crops, CONTRACT.grid, CONTRACT.grid)
        return np.asarray(self._run(EVIDENCE, crops), dtype=np.float32).reshape(shape)

    def probabilities(self, crops: Crops) -> npt.NDArray[np.float32]:
        """Returns the graph's own FP32 [N] of UINT8 crops [N, K, S, S, 3]: the numbers that verdicts are made from."""
        return np.asarray(self._run(PROBABILITY, crops), dtype=np.float32).reshape(-1)

    def answers(self, crops: Crops) -> dict[str, npt.NDArray[np.float32]]:
        """Returns all outputs of the graph by name, for UINT8 crops [N, K, S, S, 3]."""
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {CROPS: np.ascontiguousarray(crops)}), strict=True))

    def _run(self, output: str, crops: Crops) -> Any:
        return self._session.run([output], {CROPS: np.ascontiguousarray(crops)})[0]


class CheckpointScorer:
    """A training run's checkpoint, with the calibration in ``findings.json`` beside it."""

    def __init__(self, path: Path) -> None:
        """Loads a checkpoint.

        Args:
            path: A run's ``best.pt``.

        Raises:
            UsageError: If it is no checkpoint.
            ManifestError: If the run's findings are missing.
        """
        network, self.training = load_checkpoint(path)
        self.findings = Findings.read(path.with_name(FINDINGS_FILE))
        self.file = path
        self.name = f"checkpoint of run {self.training.get('run_id', '?')}"
        self._network: Any = network
        self._size = scoring_size(self.training.get("recipe") or {})

    def logits(self, crops: Crops) -> Floats:
        """Returns calibrated logits FP64 [N] of UINT8 crops [N, K, S, S, 3]."""
        with torch.inference_mode():
            # float32, as the exported graph: the threshold is given to the last digit.
            raw = crop_logits(self._network, torch.from_numpy(crops), half=False, size=self._size).mean(1)
        calibration = self.findings.calibration
        return np.asarray(raw.double().numpy() / calibration.temperature + calibration.bias, dtype=np.float64)

    def evidence(self, crops: Crops) -> Evidence:
        """Returns contributions to the logit, FP32 [N, K, G, G], of UINT8 crops [N, K, S, S, 3]."""
        with torch.inference_mode():
            x_nchw = normalise(torch.from_numpy(crops).flatten(0, 1))
            if self._size is not None:
                sides = (self._size, self._size)
                x_nchw = torch.nn.functional.interpolate(x_nchw, sides, mode="bicubic", antialias=True)
            maps = self._network.forward_features(x_nchw)
            weight = self._network.classifier.weight.reshape(1, -1, 1, 1) / self.findings.calibration.temperature
            found = (maps * weight).sum(dim=1)
        return np.asarray(found.numpy(), dtype=np.float32).reshape(*crops.shape[:2], *found.shape[1:])
