"""The ways in which a CPU can run one version, and which of them a server may run.

Export builds and measures them and writes ``variants.json`` beside the manifest; the embedded classifier reads it.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from veriphoto.errors import ModelError
from veriphoto.manifest import ONNX_FILE, Manifest, sha256_file

VARIANTS_FILE: Final = "variants.json"
"""Beside the manifest: the rows, the CPU they were measured on, and the fastest accepted variant."""
INT8_FILE: Final = "model.int8.onnx"
AUTO: Final = "auto"
"""Instead of a name: the fastest accepted variant on this kind of CPU, else fp32."""


class Variant(StrEnum):
    """A way to run a version on a CPU."""

    FP32 = "fp32"
    """ONNX Runtime; what every other is measured against."""
    INT8 = "int8"
    """ONNX Runtime on the quantised graph."""
    OPENVINO_FP32 = "openvino-fp32"
    OPENVINO_BF16 = "openvino-bf16"
    """Fast where the CPU has AMX; elsewhere OpenVINO refuses or emulates it."""
    OPENVINO_INT8 = "openvino-int8"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a variant needs to run."""

    file: str
    precision: str = ""
    """OpenVINO's hint; empty for ONNX Runtime."""


SETUPS: Final = {
    Variant.FP32: Setup(ONNX_FILE),
    Variant.INT8: Setup(INT8_FILE),
    Variant.OPENVINO_FP32: Setup(ONNX_FILE, "f32"),
    Variant.OPENVINO_BF16: Setup(ONNX_FILE, "bf16"),
    Variant.OPENVINO_INT8: Setup(INT8_FILE, "f32"),
}


def choose(directory: Path, manifest: Manifest, wanted: str) -> Setup:
    """Finds what a server may run.

    Args:
        directory: A version directory.
        manifest: Its manifest.
        wanted: A variant's name, or ``AUTO``.

    Returns:
        The setup; fp32 needs no measurement.

    Raises:
        ModelError: If there is no such variant, or it was not built, not accepted, or its file is another.
    """
    rows = _measured(directory, manifest)
    name = _fastest_here(rows) if wanted == AUTO else wanted
    if name not in SETUPS:
        raise ModelError(f"there is no variant '{name}'; choose {AUTO} or one of {', '.join(SETUPS)}")
    setup = SETUPS[Variant(name)]
    if name != Variant.FP32:
        row = next((row for row in rows.get("rows", ()) if row["variant"] == name), None)
        if row is None or not row["accepted"] or sha256_file(directory / setup.file) != row["sha256"]:
            raise ModelError(f"variant '{name}' was not built or not accepted; see: veriphoto export --variants")
    return setup


def _measured(directory: Path, manifest: Manifest) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((directory / VARIANTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if found.get("onnx_sha256") == manifest.onnx_sha256 else {}


def _fastest_here(rows: dict[str, Any]) -> str:
    try:
        same_cpu = f": {rows['cpu']}\n" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = str(rows["fastest"])
    except (OSError, KeyError):
        return Variant.FP32
    runnable = not name.startswith("openvino") or importlib.util.find_spec("openvino") is not None
    return name if same_cpu and runnable else Variant.FP32
