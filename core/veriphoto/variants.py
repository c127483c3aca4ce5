"""The ways in which a CPU can run one version, and which of them a server may run.

Export builds and measures them and writes ``variants.json`` beside the manifest; the embedded classifier reads it.
"""

from __future__ import annotations

import importlib.util
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from veriphoto.errors import ModelError
from veriphoto.manifest import ONNX_FILE, Manifest, sha256_file

VARIANTS_FILE: Final = "variants.json"
"""Beside the manifest: the rows, and the kind of CPU they were measured on."""
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
    OPENVINO_INT8_BF16 = "openvino-int8-bf16"
    """The quantised graph; what is not quantised in it runs in BF16."""


class CpuKind(StrEnum):
    """What decides which variant is fastest: the instructions for short numbers."""

    AMX = "amx"
    """Tiles of BF16 and INT8."""
    BF16 = "bf16"
    """Dot products of INT8 and of BF16."""
    VNNI = "vnni"
    """Dot products of INT8 alone: BF16 would be emulated."""
    PLAIN = "plain"
    """None of them, or a CPU that does not say."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a variant needs to run."""

    variant: Variant
    file: str
    precision: str = ""
    """OpenVINO's hint; empty for ONNX Runtime."""


SETUPS: Final = {
    setup.variant: setup
    for setup in (
        Setup(Variant.FP32, ONNX_FILE),
        Setup(Variant.INT8, INT8_FILE),
        Setup(Variant.OPENVINO_FP32, ONNX_FILE, "f32"),
        Setup(Variant.OPENVINO_BF16, ONNX_FILE, "bf16"),
        Setup(Variant.OPENVINO_INT8, INT8_FILE, "f32"),
        Setup(Variant.OPENVINO_INT8_BF16, INT8_FILE, "bf16"),
    )
}

VARIANT_INFO: Final = "veriphoto_classifier_variant_info"
"""Gauge of the server, 1: the ``variant`` that a model version runs as, for whoever has to make a score again."""

UNMEASURED: Final[Mapping[CpuKind, tuple[Variant, ...]]] = {
    CpuKind.AMX: (Variant.OPENVINO_BF16, Variant.OPENVINO_INT8_BF16, Variant.OPENVINO_INT8),
    CpuKind.BF16: (Variant.OPENVINO_INT8_BF16, Variant.OPENVINO_INT8),
    CpuKind.VNNI: (Variant.OPENVINO_INT8,),
    CpuKind.PLAIN: (),
}
"""Order on a kind of CPU that a version was not measured on: what docs/variants.md found faster there, then fp32."""


@cache
def cpu_flags(cpuinfo: str | None = None) -> frozenset[str]:
    """Returns what this machine's processor can do, in the kernel's words. Read once: training asks at every step.

    Args:
        cpuinfo: The text of ``/proc/cpuinfo``; read where None. Where there is none, nothing is known.
    """
    return frozenset(_told_of_cpu(("flags", "Features"), cpuinfo).split())


def cpu_name() -> str:
    """Returns the processor's own name; timings hold for one kind of processor."""
    return _told_of_cpu(("model name",)) or platform.processor()


def _told_of_cpu(fields: tuple[str, ...], cpuinfo: str | None = None) -> str:
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        except OSError:
            return ""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() in fields), "")


def cpu_kind(cpuinfo: str | None = None) -> CpuKind:
    """Says what kind of processor this machine has.

    Args:
        cpuinfo: The text of ``/proc/cpuinfo``; read where None.
    """
    flags = cpu_flags(cpuinfo)
    if {"amx_tile", "amx_bf16"} <= flags:
        return CpuKind.AMX
    if not flags & {"avx512_vnni", "avx_vnni"}:
        return CpuKind.PLAIN
    return CpuKind.BF16 if "avx512_bf16" in flags else CpuKind.VNNI


def bfloat16_is_fast(cpuinfo: str | None = None) -> bool:
    """Says whether the processor multiplies bfloat16 itself; others emulate it, twenty times as slowly as FP32.

    Args:
        cpuinfo: The text of ``/proc/cpuinfo``; read where None.
    """
    return bool(cpu_flags(cpuinfo) & {"amx_bf16", "avx512_bf16", "bf16"})


def read_variants(directory: Path, onnx_sha256: str) -> dict[str, Any]:
    """Reads what was measured of a version.

    Args:
        directory: A version directory or a registered model's.
        onnx_sha256: Of its ``model.onnx``.

    Returns:
        The content of ``variants.json``; empty where it is missing, unreadable, or of another graph.
    """
    try:
        found = json.loads((directory / VARIANTS_FILE).read_text(encoding="utf-8"))
        whole = found["onnx_sha256"] == onnx_sha256 and all(
            row["variant"] and row["sha256"] and isinstance(row["accepted"], bool) for row in found["rows"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(found) if whole else {}


def choose(directory: Path, manifest: Manifest, wanted: str, *, kind: CpuKind | None = None) -> Setup:
    """Finds what a server may run.

    Args:
        directory: A version directory.
        manifest: Its manifest.
        wanted: A variant's name, or ``AUTO``.
        kind: Of CPU; this one's where None.

    Returns:
        The setup; fp32 needs no measurement, and ``AUTO`` ends with it where nothing else can run.

    Raises:
        ModelError: If there is no such variant, or it was not built, not accepted, or its file is another.
    """
    measured = read_variants(directory, manifest.onnx_sha256)
    if wanted == AUTO:
        fitting = (name for name in _order(measured, kind or cpu_kind()) if _fits(directory, measured, name))
        return SETUPS[next(fitting, Variant.FP32)]
    if wanted not in SETUPS:
        raise ModelError(f"there is no variant '{wanted}'; choose {AUTO} or one of {', '.join(SETUPS)}")
    name = Variant(wanted)
    if name is not Variant.FP32 and not _fits(directory, measured, name, installed=True):
        raise ModelError(f"variant '{wanted}' was not built or not accepted; see: veriphoto export --variants")
    return SETUPS[name]


def _order(measured: Mapping[str, Any], kind: CpuKind) -> Iterator[Variant]:
    """Names variants, the fastest on this kind of CPU first."""
    if measured.get("cpu_kind") != kind:
        yield from UNMEASURED[kind]
        return
    known = [row for row in measured["rows"] if row["variant"] in SETUPS and row.get("ms_per_crop", {}).get("b1c1")]
    for row in sorted(known, key=lambda row: float(row["ms_per_crop"]["b1c1"])):
        yield Variant(row["variant"])


def _fits(directory: Path, measured: Mapping[str, Any], name: Variant, *, installed: bool = False) -> bool:
    """Tells whether a variant was accepted, its file is the one that was measured, and its runtime is here."""
    row = next((row for row in measured.get("rows", ()) if row["variant"] == name), None)
    if row is None or not row["accepted"]:
        return False
    setup, file = SETUPS[name], directory / SETUPS[name].file
    here = installed or not setup.precision or importlib.util.find_spec("openvino") is not None
    return here and file.is_file() and sha256_file(file) == row["sha256"]
