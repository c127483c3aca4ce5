"""A model with everything that stays with it: in the registry, and in every version made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import onnx

from veriphoto.errors import ManifestError
from veriphoto.manifest import ONNX_FILE, Findings, Manifest, read_manifest, sha256_file, verify_onnx
from veriphoto.second_opinion import SecondOpinion, read_opinion
from veriphoto_export.operating_point import operating_point, stamp
from veriphoto_export.variant_files import MeasuredVariants, find_variants, write_variants


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """Everything that makes a version, except its number: ``as_version`` gives it one."""

    graph: onnx.ModelProto
    findings: Findings
    """What the training run decided, at this bundle's own operating point."""
    evidence_bias: float
    """Difference between LOGIT and the mean of EVIDENCE."""
    variants: MeasuredVariants | None = None
    """Other ways to run the graph, measured at this operating point."""
    opinion: SecondOpinion | None = None

    @classmethod
    def gather(cls, graph: onnx.ModelProto, manifest: Manifest, homes: Iterable[Path]) -> ModelBundle:
        """Joins a graph that has been checked with what lies in its directories.

        Args:
            graph: The graph.
            manifest: Its manifest.
            homes: Directories of this one model, the likeliest first: versions made of it, and the registered model.

        Raises:
            ManifestError: If the only second opinion there is cannot be read.
        """
        places = list(homes)
        return cls(
            graph=graph,
            findings=manifest.findings,
            evidence_bias=manifest.evidence_bias,
            variants=find_variants(places),
            opinion=_find_opinion(places),
        )

    @classmethod
    def read(cls, directory: Path) -> ModelBundle:
        """Reads a published version or a registered model.

        Args:
            directory: Its directory.

        Raises:
            ModelError: If the model must not be used, or its second opinion cannot be read.
        """
        manifest = read_manifest(directory)
        verify_onnx(directory, manifest)
        return cls.gather(onnx.load(directory / ONNX_FILE), manifest, [directory])

    def as_version(self, version: int) -> ModelBundle:
        """Returns the same model answering as a version; ``UNSERVED`` for one that is only registered.

        Args:
            version: The number that graph, manifest and second opinion will name.

        Raises:
            ModelError: If the graph has no operating point to write the number into.
        """
        point = operating_point(self.findings, version)
        return replace(
            self,
            graph=stamp(self.graph, point),
            findings=replace(self.findings, operating_point=point),
            opinion=self.opinion.of_version(version) if self.opinion else None,
        )

    def write(self, directory: Path) -> None:
        """Writes the graph and everything beside it into a directory that nobody reads yet.

        Raises:
            ModelError: If what was written does not read back.
            OSError: If the disk refuses.
        """
        (directory / ONNX_FILE).write_bytes(self.graph.SerializeToString())
        self.describe(directory)

    def describe(self, directory: Path) -> None:
        """Writes everything but the graph, for a directory that has the graph already.

        Raises:
            ModelError: If the graph there is not this one, or what was written does not read back.
            OSError: If the disk refuses.
        """
        point = self.findings.operating_point
        Manifest(
            model_version=point.model_version,
            onnx_sha256=sha256_file(directory / ONNX_FILE),
            evidence_bias=self.evidence_bias,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            findings=self.findings,
        ).write(directory)
        verify_onnx(directory, read_manifest(directory))
        if self.variants is not None:
            write_variants(directory, self.variants, point)
        if self.opinion is not None:
            self.opinion.write(directory)


def _find_opinion(homes: Iterable[Path]) -> SecondOpinion | None:
    """A damaged copy gives way to a sound one, but is not taken for there being none."""
    damage: ManifestError | None = None
    for home in homes:
        try:
            opinion = read_opinion(home)
        except ManifestError as error:
            damage = damage or error
            continue
        if opinion is not None:
            return opinion
    if damage is not None:
        raise damage
    return None
