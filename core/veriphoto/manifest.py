"""The manifest that travels with every model version.

Training writes its ``Findings`` (what a run decided); export adds what the graph is and writes the ``Manifest`` beside
``model.onnx``. Everything else only reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from veriphoto.contract import CONTRACT
from veriphoto.errors import ChecksumError, ContractMismatchError, ManifestError
from veriphoto.verdict import OperatingPoint

SCHEMA: Final = 2
_READABLE: Final = (1, SCHEMA)
"""Schema 1 lacks the drift reference's ``counts`` and ``moments``."""
PRIOR: Final = 0.5
"""Share of AI-generated pictures at which a calibrated probability is right: calibration weighs the classes alike."""
FINDINGS_FILE: Final = "findings.json"
MANIFEST_FILE: Final = "manifest.json"
ONNX_FILE: Final = "model.onnx"
PLAN_FILE: Final = "model.plan"
"""What TensorRT makes of it."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Turns the network's raw logit z into the calibrated one: z / temperature + bias.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599) with a bias, as the share of fakes differs from training's.
    """

    temperature: float = 1.0
    bias: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a model comes from."""

    run_id: str
    """MLflow run."""
    recipe: str
    seed: int
    data_fingerprint: str
    """sha256 over the training set's paths, labels and file hashes."""
    weights: str
    """What the training started from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftReference:
    """What answers and statistics look like when nothing has moved, on validation pictures.

    Keys of the mappings are fields of the prediction log's ``Record``, its statistics included.
    """

    score_edges: list[float]
    """Edges of the histogram of PROBABILITY, one more than counts."""
    score_counts: list[int]
    quantile_levels: list[float]
    statistics: dict[str, list[float]]
    """Quantiles of each number at ``quantile_levels``."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many pictures have each verdict, and each format."""
    moments: dict[str, list[float]] = field(default_factory=dict)
    """Mean and variance."""

    def without_verdicts(self) -> DriftReference:
        """Returns what still holds once verdicts are made at another operating point."""
        return replace(self, counts={name: counts for name, counts in self.counts.items() if name != "verdict"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What a training run decided; ``findings.json`` beside its checkpoint.

    ``operating_point.model_version`` is 0 here: export sets it.
    """

    calibration: Calibration
    operating_point: OperatingPoint
    metrics: dict[str, float]
    drift_reference: DriftReference
    lineage: Lineage

    def write(self, path: Path) -> None:
        """Writes the findings as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Findings:
        """Reads what ``write`` wrote.

        Raises:
            ManifestError: If the file is missing or is not what ``write`` writes.
        """
        return _findings(_load(path), path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a model version is, next to its graph."""

    model_version: int
    onnx_sha256: str
    evidence_bias: float
    """What the mean of EVIDENCE lacks to LOGIT."""
    created: str
    """UTC, ISO 8601."""
    findings: Findings

    def write(self, directory: Path) -> None:
        """Writes ``manifest.json`` into a version directory, with the code's contract."""
        body = {"schema": SCHEMA, "contract": CONTRACT.to_json(), **asdict(self)}
        (directory / MANIFEST_FILE).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """Reads and checks the manifest of a version directory.

    Args:
        directory: ``model_repository/classifier/N``.

    Returns:
        The manifest.

    Raises:
        ManifestError: If it is missing, broken, or its version is not the directory's.
        ContractMismatchError: If it was written for another contract.
    """
    path = directory / MANIFEST_FILE
    body = _load(path)
    if body.get("schema") not in _READABLE:
        raise ManifestError(
            f"{path}: schema {body.get('schema')!r}, this release reads up to {SCHEMA}; export the model again"
        )
    _check_contract(body.get("contract"), path)
    findings = _findings(body.get("findings"), path)
    rest = {each.name: body.get(each.name) for each in fields(Manifest) if each.name != "findings"}
    manifest = _build(Manifest, {**rest, "findings": findings}, path)
    versions = {manifest.model_version, findings.operating_point.model_version}
    if directory.name.isdigit():
        versions.add(int(directory.name))
    if len(versions) != 1:
        raise ManifestError(f"{path}: is of version {manifest.model_version}, not of this directory; publish it anew")
    return manifest


def verify_onnx(directory: Path, manifest: Manifest) -> None:
    """Checks that ``model.onnx`` is the file the manifest describes.

    Raises:
        ChecksumError: If it is missing or its sha256 differs.
    """
    path = directory / ONNX_FILE
    if not path.is_file():
        raise ChecksumError(f"{path} is missing; publish the version again")
    if sha256_file(path) != manifest.onnx_sha256:
        raise ChecksumError(f"{path} is not the file its manifest describes; publish the version again")


def sha256_file(path: Path) -> str:
    """Returns the hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def latest_version(model: Path) -> Path:
    """Returns the version directory that Triton's default policy serves: the highest number.

    Args:
        model: A model's directory in the repository.

    Raises:
        ManifestError: If there is none.
    """
    versions = [entry for entry in model.iterdir() if entry.is_dir() and entry.name.isdigit()] if model.is_dir() else []
    if not versions:
        raise ManifestError(f"{model} holds no version directory; export a model into it")
    return max(versions, key=lambda entry: int(entry.name))


def _load(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(f"{path} is missing; export the model again") from None
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise ManifestError(f"{path} holds no JSON object")
    return body


def _check_contract(found: object, path: Path) -> None:
    expected = CONTRACT.to_json()
    if found == expected:
        return
    copy = found if isinstance(found, Mapping) else {}
    keys = [key for key in sorted(expected.keys() | copy.keys()) if expected.get(key) != copy.get(key)]
    differences = ", ".join(f"{key} is {copy.get(key)!r}, the code says {expected.get(key)!r}" for key in keys)
    raise ContractMismatchError(f"{path} was written for another contract: {differences}; export the model again")


def _findings(body: object, path: Path) -> Findings:
    if not isinstance(body, Mapping):
        raise ManifestError(f"{path}: 'findings' is missing")
    parts = {
        "calibration": Calibration,
        "operating_point": OperatingPoint,
        "drift_reference": DriftReference,
        "lineage": Lineage,
    }
    built: dict[str, Any] = {name: _build(kind, body.get(name), path) for name, kind in parts.items()}
    return _build(Findings, {**built, "metrics": body.get("metrics")}, path)


def _build(kind: type[T], body: object, path: Path) -> T:
    if not isinstance(body, Mapping) or any(value is None for value in body.values()):
        raise ManifestError(f"{path}: {kind.__name__} is missing or lacks a value")
    try:
        return kind(**body)
    except (TypeError, ValueError) as error:
        raise ManifestError(f"{path}: {kind.__name__}: {error}") from error
