"""Copies measured variants with their model: into the registry, and into every version made of it.

A variant belongs to a graph. The graph of another version differs in its number alone, so what was measured of the one
holds for the other. Another threshold is another operating point, and there they have to be measured again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from veriphoto.contract import CROPS, OPERATING_POINT
from veriphoto.errors import ModelError
from veriphoto.manifest import ONNX_FILE, read_manifest, sha256_file, verify_onnx
from veriphoto.variants import INT8_FILE, SETUPS, VARIANTS_FILE, Variant, read_variants
from veriphoto.verdict import OperatingPoint
from veriphoto_export.operating_point import stamp


@dataclass(frozen=True, kw_only=True)
class MeasuredVariants:
    """What was measured of a model, with the files that its accepted variants run."""

    home: Path
    """Where they lie: a version directory or a registered model's."""
    body: dict[str, Any]
    """The content of ``variants.json``."""
    int8: onnx.ModelProto | None

    @property
    def accepted(self) -> list[Variant]:
        """The accepted variants."""
        names = [row["variant"] for row in self.body["rows"] if row["accepted"]]
        return [Variant(name) for name in names if name in SETUPS]

    def largest_difference(self, variants: Iterable[Variant]) -> float:
        """Returns the largest difference in probability from fp32 that was measured of some variants."""
        rows = {row["variant"]: float(row.get("largest_difference", 0.0)) for row in self.body["rows"]}
        return max((rows[name] for name in variants), default=0.0)


def find_variants(homes: Iterable[Path]) -> MeasuredVariants | None:
    """Finds the first directory with variants that can be used.

    Args:
        homes: Directories of one model, the likeliest first.

    Returns:
        Its variants; None where none were accepted, or a file is not the one that was measured.
    """
    return next((found for home in homes if (found := load_variants(home)) is not None), None)


def load_variants(home: Path) -> MeasuredVariants | None:
    """Reads the variants of a directory and verifies their files.

    Args:
        home: A version directory or a registered model's.

    Returns:
        The variants, or None: fp32 always serves, so a damaged extra is left behind and stops nothing.
    """
    try:
        manifest = read_manifest(home)
        verify_onnx(home, manifest)
        body = read_variants(home, manifest.onnx_sha256)
        accepted = [row for row in body.get("rows", ()) if row["accepted"] and row["variant"] in SETUPS]
        files = {SETUPS[Variant(row["variant"])].file: row["sha256"] for row in accepted}
        if not files or any(sha256_file(home / file) != sha256 for file, sha256 in files.items()):
            return None
        int8 = onnx.load(home / INT8_FILE) if INT8_FILE in files else None
    except (ModelError, OSError):
        return None
    return MeasuredVariants(home=home, body=body, int8=int8)


def write_variants(target: Path, variants: MeasuredVariants, point: OperatingPoint) -> None:
    """Writes variants beside a graph of the same model.

    Args:
        target: A directory, not yet in anyone's sight, that holds ``model.onnx``.
        variants: The variants to write.
        point: The operating point of that graph.

    Raises:
        ModelError: If the INT8 graph does not answer at it.
        OSError: If the disk refuses.
    """
    onnx_sha256 = sha256_file(target / ONNX_FILE)
    hashes = {ONNX_FILE: onnx_sha256}
    if variants.int8 is not None:
        (target / INT8_FILE).write_bytes(stamp(variants.int8, point).SerializeToString())
        _require_point(target / INT8_FILE, point)
        hashes[INT8_FILE] = sha256_file(target / INT8_FILE)
    body = copy.deepcopy(variants.body)
    body["onnx_sha256"] = onnx_sha256
    for row in body["rows"]:
        if row["accepted"] and row["variant"] in SETUPS:
            row["sha256"] = hashes[SETUPS[Variant(row["variant"])].file]
    (target / VARIANTS_FILE).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def _require_point(file: Path, point: OperatingPoint) -> None:
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    shape = [1, *session.get_inputs()[0].shape[1:]]
    [answer] = session.run([OPERATING_POINT], {CROPS: np.zeros(shape, np.uint8)})
    if OperatingPoint.from_tensor(answer[0].tolist()) != point:
        raise ModelError(f"{file.name} answers at another operating point; build it again: veriphoto export --variants")
