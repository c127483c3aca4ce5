"""A model that may be served; graph and manifest are checked before they are used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from veriphoto.contract import CROPS, LOGIT, OPERATING_POINT, PROBABILITY
from veriphoto.errors import ChecksumError, ImageError, ModelError
from veriphoto.manifest import ONNX_FILE, Findings, Manifest, read_manifest, verify_onnx
from veriphoto.preprocessing import preprocess
from veriphoto.verdict import OperatingPoint

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A checked model, ready to score and to publish."""

    name: str
    """Name in messages."""
    manifest: Manifest
    model: onnx.ModelProto
    session: Any
    directory: Path
    """Where it was loaded from."""

    @property
    def findings(self) -> Findings:
        """Findings of its training run."""
        return self.manifest.findings

    @property
    def point(self) -> OperatingPoint:
        """Operating point of its answers."""
        return self.manifest.findings.operating_point

    def probability(self, picture: bytes) -> float:
        """Scores one encoded picture as the server does.

        Raises:
            ImageError: If it cannot be scored.
        """
        return float(self.score(preprocess(picture).crops[np.newaxis])[0])

    def score(self, crops: npt.NDArray[np.uint8]) -> Floats:
        """Returns probabilities FP64 [N] of UINT8 crops [N, K, S, S, 3], picture by picture."""
        runs = [self.session.run([PROBABILITY], {CROPS: crops[at : at + 1]})[0][0, 0] for at in range(len(crops))]
        return np.array(runs, dtype=np.float64)


def load_candidate(directory: Path, name: str, *, sha256: str = "") -> Candidate:
    """Checks a model's directory and loads it.

    Args:
        directory: Holds ``model.onnx`` and ``manifest.json``: a version of the repository or a registered model.
        name: Name of the model in messages.
        sha256: sha256 of ``model.onnx`` in the registry; empty where it is not known.

    Returns:
        The model.

    Raises:
        ContractMismatchError: If it was made for another contract.
        ChecksumError: If the graph is not the one that was exported.
        ModelError: If it cannot be loaded, or answers otherwise than its manifest says.
    """
    manifest = read_manifest(directory)
    verify_onnx(directory, manifest)
    if sha256 and manifest.onnx_sha256 != sha256:
        raise ChecksumError(f"{directory / ONNX_FILE} is not the file that the registry knows; export it again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        model = onnx.load(directory / ONNX_FILE)
        session = onnxruntime.InferenceSession(str(directory / ONNX_FILE), options, providers=["CPUExecutionProvider"])
        found = _probe(session)
    except Exception as error:  # onnx, protobuf and onnxruntime share no base
        raise ModelError(f"{directory / ONNX_FILE} is no graph that can be served: {error}; export it again") from error
    if found != manifest.findings.operating_point:
        raise ModelError(f"{directory / ONNX_FILE} answers at another operating point than its manifest says")
    return Candidate(name=name, manifest=manifest, model=model, session=session, directory=directory)


def golden_scores(candidate: Candidate, pictures: Sequence[Path]) -> dict[Path, float]:
    """Scores the golden pictures offline.

    Args:
        candidate: The model.
        pictures: Their files; those that cannot be scored are left out.

    Returns:
        Probability by file.

    Raises:
        ModelError: If none can be scored.
    """
    scores = dict(_scored(candidate, pictures))
    if not scores:
        raise ModelError("no golden picture can be scored; name a folder of photos with --golden")
    return scores


def _scored(candidate: Candidate, pictures: Sequence[Path]) -> Iterable[tuple[Path, float]]:
    for path in pictures:
        try:
            yield path, candidate.probability(path.read_bytes())
        except (ImageError, OSError):
            continue


def _probe(session: Any) -> OperatingPoint:
    shape = [1, *session.get_inputs()[0].shape[1:]]
    names = [LOGIT, PROBABILITY, OPERATING_POINT]
    return OperatingPoint.from_tensor(session.run(names, {CROPS: np.zeros(shape, np.uint8)})[2][0].tolist())
