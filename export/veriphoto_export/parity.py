"""Checks that the exported graph scores real pictures as the network it came from.

The reference is the network itself with normalisation, mean over crops, calibration and sigmoid written out once more
in float64, not the module that was exported: an error in that module must not hide in both sides of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from veriphoto.contract import CONTRACT, CROPS, EVIDENCE, LOGIT, MAX_BATCH_SIZE, OPERATING_POINT, PROBABILITY
from veriphoto.errors import DataError, ImageError, ParityError
from veriphoto.manifest import Calibration
from veriphoto.preprocessing import preprocess
from veriphoto.verdict import OperatingPoint

TOLERANCE: Final = 1e-4
"""Largest difference in probability that passes."""

_OUTPUTS: Final = (PROBABILITY, LOGIT, EVIDENCE, OPERATING_POINT)

Floats = npt.NDArray[np.float64]
Crops = npt.NDArray[np.uint8]
Network = Callable[[torch.Tensor], torch.Tensor]
"""Maps normalised FP32 [B, 3, S, S] to raw logits FP32 [B, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far the exported graph is from the network, over all pictures."""

    pictures: int
    probability: float
    """Largest difference in probability, pictures singly and in batches."""
    logit: float
    """Largest difference in calibrated logit."""
    evidence: float
    """Largest |mean of EVIDENCE + evidence bias - LOGIT|, relative to the logit where that is above 1."""


def load_crops(pictures: Sequence[Path]) -> Crops:
    """Runs core preprocessing over files.

    Args:
        pictures: Picture files; those that cannot be scored are left out.

    Returns:
        UINT8 [P, K, S, S, 3].

    Raises:
        DataError: If no file can be scored.
    """
    crops = []
    for path in pictures:
        try:
            crops.append(preprocess(path.read_bytes()).crops)
        except (ImageError, OSError):
            continue
    if not crops:
        raise DataError("no picture to check the export with; name a folder of photos")
    return np.stack(crops)


def check_parity(
    model: bytes,
    network: Network,
    crops: Crops,
    *,
    calibration: Calibration,
    evidence_bias: float,
    point: OperatingPoint,
) -> Parity:
    """Compares an exported graph with its network.

    Args:
        model: The ONNX file.
        network: The network, in evaluation mode, on the CPU.
        crops: UINT8 [P, K, S, S, 3] of real pictures.
        calibration: The calibration in the graph.
        evidence_bias: The manifest's difference between LOGIT and the mean of EVIDENCE.
        point: The operating point that the graph must answer with.

    Returns:
        The differences found, all within tolerance.

    Raises:
        ParityError: If one is not, or the graph does not load or lacks an output.
    """
    session = _session(model)
    singly = _run(session, crops, batch=1)
    batched = _run(session, crops, batch=min(MAX_BATCH_SIZE, max(2, len(crops))))
    expected = reference_logits(network, crops, calibration)
    difference = max(_distance(each[PROBABILITY][:, 0], _sigmoid(expected)) for each in (singly, batched))
    logit = max(_distance(each[LOGIT][:, 0], expected) for each in (singly, batched))
    found = Parity(pictures=len(crops), probability=difference, logit=logit, evidence=_residual(singly, evidence_bias))
    _require(difference <= TOLERANCE, f"probabilities differ from the network's by {difference:.2e}")
    _require(found.evidence <= TOLERANCE, f"the evidence misses the logit by {found.evidence:.2e}")
    _require(
        bool((singly[OPERATING_POINT] == np.array(point.to_tensor(), dtype=np.float32)).all()),
        "the graph's operating point is not the version's",
    )
    return found


def reference_logits(network: Network, crops: Crops, calibration: Calibration) -> Floats:
    """Computes calibrated logits with the network alone.

    Args:
        network: The network, in evaluation mode.
        crops: UINT8 [P, K, S, S, 3].
        calibration: Temperature and bias.

    Returns:
        FP64 [P].
    """
    mean, std = np.array(CONTRACT.mean), np.array(CONTRACT.std)
    logits = []
    for picture in crops:
        pixels = ((picture / 255.0 - mean) / std).transpose(0, 3, 1, 2)
        with torch.no_grad():
            raw = network(torch.from_numpy(pixels.astype(np.float32)))
        logits.append(float(raw.double().mean()) / calibration.temperature + calibration.bias)
    return np.array(logits)


def _session(model: bytes) -> Any:
    import onnxruntime  # noqa: PLC0415 - after veriphoto, which keeps it from reporting to its makers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # its warnings go to stderr and are about its own optimiser
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise ParityError(f"ONNX Runtime does not load the graph: {error}") from error


def _run(session: Any, crops: Crops, *, batch: int) -> dict[str, npt.NDArray[np.float32]]:
    try:
        runs = [session.run(_OUTPUTS, {CROPS: crops[at : at + batch]}) for at in range(0, len(crops), batch)]
    except Exception as error:
        raise ParityError(f"ONNX Runtime does not run the graph with a batch of {batch}: {error}") from error
    return {name: np.concatenate(parts) for name, parts in zip(_OUTPUTS, zip(*runs, strict=True), strict=True)}


def _residual(answer: dict[str, npt.NDArray[np.float32]], evidence_bias: float) -> float:
    logits = answer[LOGIT][:, 0].astype(np.float64)
    sums = answer[EVIDENCE].astype(np.float64).mean(axis=(1, 2, 3)) + evidence_bias
    return float(np.max(np.abs(sums - logits) / np.maximum(1.0, np.abs(logits))))


def _distance(found: npt.NDArray[np.float32], expected: Floats) -> float:
    return float(np.max(np.abs(found - expected)))


def _sigmoid(logits: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-logits))


def _require(holds: bool, complaint: str) -> None:
    # Written so that NaN, which compares false with everything, is refused.
    if not holds:
        raise ParityError(f"{complaint} (tolerance {TOLERANCE:.0e}); nothing was published")
