"""Exports a training run: graph, parity check, variants, registration and publication."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from veriphoto.errors import UsageError
from veriphoto.manifest import FINDINGS_FILE, Findings, read_manifest
from veriphoto_export.graph import ClassifierGraph, Network, export_onnx
from veriphoto_export.operating_point import UNSERVED
from veriphoto_export.parity import Crops, Parity, check_parity, load_crops
from veriphoto_export.pictures import find_pictures
from veriphoto_export.variant_files import load_variants
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.publish import latest, next_version, publish, require_free
from veriphoto_release.registration import register
from veriphoto_release.registry import CHALLENGER, CHAMPION, EXPORT, RegisteredModel, Registry
from veriphoto_training.network.model import CHECKPOINT_FILE, load_checkpoint

PARITY_PICTURES: Final = 64
"""More would only take longer: differences come from the graph, hardly from the picture."""

Measure = Callable[[Path], object]
"""Builds the variants of the model in a directory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """The result of an export."""

    directory: Path | None
    """Directory of the published version; None where it was only registered."""
    version: int | None
    bytes: int
    """Size of the ONNX file."""
    parity: Parity
    model: int | None = None
    """Number in the registry; None where it was not registered."""


def export_run(
    run: Path,
    *,
    repository: Path,
    photos: Path,
    version: int | None = None,
    registry: Registry | None = None,
    serve: bool = True,
    variants: Callable[[Mapping[str, Any]], Measure] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Exports what a training run left behind.

    Args:
        run: The run's directory, or a checkpoint in it.
        repository: The Triton model repository to publish in.
        photos: Folder of pictures to check parity with.
        version: Version number; the next free one if None.
        registry: Registry to add it to as challenger; None to register it nowhere.
        serve: Publish it in the repository, without comparing it with the version there.
        variants: Returns what measures the variants, given the checkpoint's metadata; None builds none.
        say: Called with a line of progress.

    Returns:
        What was written.

    Raises:
        VeriphotoError: If anything is missing or does not hold; nothing is published then.
    """
    checkpoint = run / CHECKPOINT_FILE if run.is_dir() else run
    decided = checkpoint.parent / FINDINGS_FILE
    pictures = find_pictures(photos)
    for needed in (checkpoint, decided):
        if not needed.is_file():
            raise UsageError(f"{needed} is missing; name the directory of a training run that has finished")
    findings = Findings.read(decided)
    network, training = load_checkpoint(checkpoint)
    return export_version(
        cast(Network, network),
        findings,
        repository=repository,
        pictures=pictures,
        version=version,
        registry=registry,
        serve=serve,
        measure=variants(training) if variants else None,
        say=say,
    )


def export_version(
    network: Network,
    findings: Findings,
    *,
    repository: Path,
    pictures: Sequence[Path],
    version: int | None = None,
    registry: Registry | None = None,
    serve: bool = True,
    measure: Measure | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Exports a network, checks the graph against it on real pictures, registers and publishes it.

    Args:
        network: The network, in evaluation mode, on the CPU.
        findings: Findings of its training run.
        repository: The Triton model repository to publish in.
        pictures: Files to check parity with; at most ``PARITY_PICTURES`` are used.
        version: Version number; the next free one if None.
        registry: Registry to add it to as challenger; None to register it nowhere.
        serve: Publish it in the repository, without comparing it with the version there.
        measure: Builds its variants, which are registered and published with it; None builds none.
        say: Called with a line of progress.

    Returns:
        What was written.

    Raises:
        VeriphotoError: If anything does not hold; nothing is published then.
    """
    number = version if version is not None else next_version(repository)
    require_free(repository, number)
    crops = load_crops(spread(pictures))
    say("exporting the graph")
    graph = ClassifierGraph(network, findings.calibration)
    bundle = ModelBundle(graph=export_onnx(graph), findings=findings, evidence_bias=graph.evidence_bias)
    say(f"comparing it with the network on {len(crops)} pictures")
    parity = _check(bundle.as_version(number), network, crops)
    if measure is not None:
        bundle = _with_variants(bundle, measure)
    registered = None
    if registry is not None:
        say(f"registering it at {registry.uri}")
        registered = register(bundle, registry=registry, example=crops[:1])
    size = len(bundle.graph.SerializeToString())
    if not serve:
        return Exported(directory=None, version=None, bytes=size, parity=parity, model=_number(registered))
    directory = publish(bundle, repository, number)
    if registry is not None and registered is not None:
        registry.note_served(registered, number, read_manifest(directory).onnx_sha256, EXPORT)
        if number == latest(repository):
            registry.point(CHAMPION, registered)
            registry.unpoint(CHALLENGER, registered)
    return Exported(directory=directory, version=number, bytes=size, parity=parity, model=_number(registered))


def _check(bundle: ModelBundle, network: Network, crops: Crops) -> Parity:
    return check_parity(
        bundle.graph.SerializeToString(),
        network,
        crops,
        calibration=bundle.findings.calibration,
        evidence_bias=bundle.evidence_bias,
        point=bundle.findings.operating_point,
    )


def _number(model: RegisteredModel | None) -> int | None:
    return None if model is None else model.number


def _with_variants(bundle: ModelBundle, measure: Measure) -> ModelBundle:
    """Measures before anything is registered or published: a kill in these minutes leaves nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        bundle.as_version(UNSERVED).write(home)
        measure(home)
        return replace(bundle, variants=load_variants(home))


def spread(pictures: Sequence[Path]) -> Sequence[Path]:
    """Returns at most ``PARITY_PICTURES`` files, spread evenly over the list."""
    step = max(1, -(-len(pictures) // PARITY_PICTURES))
    return pictures[::step]
