"""The whole road from a training run's directory to a version directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from veriphoto.errors import UsageError
from veriphoto.manifest import ONNX_FILE, Findings
from veriphoto_export.graph import DetectorGraph, Network, export_onnx, stamp
from veriphoto_export.parity import Parity, check_parity, load_crops
from veriphoto_export.publish import next_version, operating_point, publish, require_free
from veriphoto_training.model import load_checkpoint

PARITY_PICTURES: Final = 64
"""More would only take longer: differences come from the graph, hardly from the picture."""

CHECKPOINT_FILE: Final = "best.pt"
FINDINGS_FILE: Final = "findings.json"

_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What an export wrote."""

    directory: Path
    version: int
    bytes: int
    """Size of the ONNX file."""
    parity: Parity


def export_run(
    run: Path,
    *,
    repository: Path,
    photos: Path,
    version: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Exports what a training run left behind.

    Args:
        run: The run's directory, or a checkpoint in it.
        repository: The Triton model repository to publish in.
        photos: Folder of pictures to check parity with.
        version: Version number; the next free one if None.
        say: Told what is being done.

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
    network, _ = load_checkpoint(checkpoint)
    return export_version(
        cast(Network, network), findings, repository=repository, pictures=pictures, version=version, say=say
    )


def export_version(
    network: Network,
    findings: Findings,
    *,
    repository: Path,
    pictures: Sequence[Path],
    version: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Exports a network, checks the graph against it on real pictures and publishes it.

    Args:
        network: In evaluation mode, on the CPU.
        findings: What its training run decided.
        repository: The Triton model repository to publish in.
        pictures: Files to check parity with; at most ``PARITY_PICTURES`` are used.
        version: Version number; the next free one if None.
        say: Told what is being done.

    Returns:
        What was written.

    Raises:
        VeriphotoError: If anything does not hold; nothing is published then.
    """
    number = version if version is not None else next_version(repository)
    require_free(repository, number)
    crops = load_crops(spread(pictures))
    say("exporting the graph")
    graph = DetectorGraph(network, findings.calibration)
    model = export_onnx(graph)
    say(f"comparing it with the network on {len(crops)} pictures")
    point = operating_point(findings, number)
    parity = check_parity(
        stamp(model, point).SerializeToString(),
        network,
        crops,
        calibration=findings.calibration,
        evidence_bias=graph.evidence_bias,
        point=point,
    )
    directory = publish(model, findings, evidence_bias=graph.evidence_bias, repository=repository, version=number)
    return Exported(directory=directory, version=number, bytes=(directory / ONNX_FILE).stat().st_size, parity=parity)


def spread(pictures: Sequence[Path]) -> Sequence[Path]:
    """Takes at most ``PARITY_PICTURES`` files, evenly from the whole list."""
    step = max(1, -(-len(pictures) // PARITY_PICTURES))
    return pictures[::step]


def find_pictures(folder: Path) -> list[Path]:
    """Lists the pictures under a folder by their suffixes, in a fixed order.

    Raises:
        UsageError: If it is no folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name one with JPEG, PNG or WebP photos")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
