"""The versions of a model repository, as their manifests describe them; reading them needs no training environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import ModelError, UsageError
from veriphoto.manifest import ONNX_FILE, read_manifest
from veriphoto.second_opinion import read_opinion

BASE_VERSION: Final = "shop_base_version"
"""Metric: the version that a shop's calibration started from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One version of the repository."""

    number: int
    created: str
    """UTC, ISO 8601; empty where the manifest cannot be read."""
    recipe: str
    """The training recipe; where the manifest cannot be read, the reason."""
    second_opinion: bool
    calibrated_from: int | None = None
    """The version that a shop's calibration started from."""


def require_directory(repository: Path) -> None:
    """Raises ``UsageError`` if a model repository is no directory, as in a folder other than the project's."""
    if not repository.is_dir():
        raise UsageError(f"{repository} is no directory; name the model repository with --model-repository")


def published(repository: Path) -> list[Published]:
    """Lists the versions that hold a graph.

    Args:
        repository: A Triton model repository.

    Returns:
        The versions, oldest first. Triton serves the last from its next start.

    Raises:
        UsageError: If there is no such directory.
    """
    require_directory(repository)
    folders = [path.parent for path in (repository / CLASSIFIER).glob(f"[0-9]*/{ONNX_FILE}")]
    numbered = sorted((folder for folder in folders if folder.name.isdigit()), key=lambda folder: int(folder.name))
    return [_read(folder) for folder in numbered]


def _read(folder: Path) -> Published:
    number = int(folder.name)
    try:
        manifest, opinion = read_manifest(folder), read_opinion(folder)
    except ModelError as error:
        return Published(number=number, created="", recipe=error.to_wire(), second_opinion=False)
    base = manifest.findings.metrics.get(BASE_VERSION)
    return Published(
        number=number,
        created=manifest.created,
        recipe=manifest.findings.lineage.recipe,
        second_opinion=opinion is not None,
        calibrated_from=None if base is None else int(base),
    )
