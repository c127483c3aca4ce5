"""Finds the model that a repository serves, registering one that came some other way than by a promotion."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import UsageError, VeriphotoError
from veriphoto.manifest import read_manifest, verify_onnx
from veriphoto.preprocessing import preprocess
from veriphoto.second_opinion import read_opinion
from veriphoto_export.operating_point import UNSERVED
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.candidate import Candidate, load_candidate
from veriphoto_release.publish import latest
from veriphoto_release.registration import register
from veriphoto_release.registry import CHAMPION, RegisteredModel, Registry


def adopt(
    registry: Registry, repository: Path, golden: Sequence[Path], *, version: int | None = None
) -> RegisteredModel | None:
    """Finds the model that a repository serves, registering one that came some other way.

    A fresh clone, a shop's calibration and an export straight into the repository all serve a version that no
    promotion has put there.

    Args:
        registry: The registry.
        repository: The Triton model repository.
        golden: Golden pictures; one becomes the input example.
        version: The version that the server has loaded; the repository's newest if None.

    Returns:
        The served model, which has the alias ``champion``; None where nothing is served.

    Raises:
        VeriphotoError: If the served version must not be used, or MLflow fails.
    """
    version = version or latest(repository)
    if version is None:
        return None
    directory = repository / CLASSIFIER / str(version)
    manifest = read_manifest(directory)
    verify_onnx(directory, manifest)
    model = registry.by_served(version, manifest.onnx_sha256)
    if model is None:
        model = _adopted(registry, load_candidate(directory, f"version {version}"), golden)
    registry.note_served(model, version, manifest.onnx_sha256, "adopt")
    if CHAMPION not in model.aliases:
        registry.point(CHAMPION, model)
    return registry.find(str(model.number))


def _adopted(registry: Registry, candidate: Candidate, golden: Sequence[Path]) -> RegisteredModel:
    bundle = ModelBundle.gather(candidate.model, candidate.manifest, [candidate.directory])
    known = _registered_unserved(registry, bundle)
    return known or register(bundle, registry=registry, example=example(golden), origin="adopt", challenge=False)


def _registered_unserved(registry: Registry, bundle: ModelBundle) -> RegisteredModel | None:
    """Finds what an export registered before it was killed between publishing and noting the number."""
    unserved = bundle.as_version(UNSERVED)
    sha256 = hashlib.sha256(unserved.graph.SerializeToString()).hexdigest()
    for model in registry.models():
        # The same graph may have gained a second opinion since, and then it is another model.
        if model.sha256 == sha256 and not model.served and read_opinion(registry.download(model)) == unserved.opinion:
            return model
    return None


def example(pictures: Sequence[Path]) -> Any:
    """Returns the crops of the first picture that can be read, UINT8 [1, K, S, S, 3].

    Raises:
        UsageError: If there is none.
    """
    for path in pictures:
        with suppress(VeriphotoError, OSError):
            return preprocess(path.read_bytes()).crops[np.newaxis]
    raise UsageError("there is no golden picture; name a folder of photos with --golden")
