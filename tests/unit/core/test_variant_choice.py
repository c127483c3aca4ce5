"""Which variant a machine runs by itself: measured where it was measured, by rule elsewhere, else fp32."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from toy_model import REPOSITORY, toy_findings

from veriphoto import variants
from veriphoto.contract import CLASSIFIER
from veriphoto.errors import ModelError
from veriphoto.manifest import Manifest, latest_version, read_manifest, sha256_file
from veriphoto.variants import (
    AUTO,
    INT8_FILE,
    SETUPS,
    VARIANTS_FILE,
    CpuKind,
    Variant,
    bfloat16_is_fast,
    choose,
    cpu_kind,
    read_variants,
)

MILLISECONDS = {
    "fp32": 9.0,
    "int8": 11.0,
    "openvino-fp32": 9.5,
    "openvino-bf16": 5.0,
    "openvino-int8": 7.0,
    "openvino-int8-bf16": 6.0,
}
INT8 = ("openvino-int8", "openvino-int8-bf16")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Of a version measured on AMX, all of whose variants were accepted."""
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / INT8_FILE).write_bytes(b"quantised graph")
    made = Manifest(
        model_version=1,
        onnx_sha256=sha256_file(tmp_path / "model.onnx"),
        evidence_bias=0.0,
        created="",
        findings=toy_findings(),
    )
    write(tmp_path, made)
    return made


def write(directory: Path, manifest: Manifest, kind: str = "amx", refused: tuple[str, ...] = ()) -> None:
    rows = [
        {
            "variant": name,
            "sha256": sha256_file(directory / SETUPS[Variant(name)].file),
            "accepted": name not in refused,
            "ms_per_crop": {"b1c1": milliseconds},
        }
        for name, milliseconds in MILLISECONDS.items()
    ]
    body = {"onnx_sha256": manifest.onnx_sha256, "cpu_kind": kind, "rows": rows}
    (directory / VARIANTS_FILE).write_text(json.dumps(body))


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize(
    ("kind", "refused", "expected"),
    [
        (CpuKind.AMX, (), Variant.OPENVINO_BF16),
        (CpuKind.AMX, ("openvino-bf16",), Variant.OPENVINO_INT8_BF16),
        (CpuKind.AMX, ("openvino-bf16", "openvino-fp32", *INT8), Variant.FP32),
        (CpuKind.BF16, (), Variant.OPENVINO_INT8_BF16),
        (CpuKind.BF16, ("openvino-int8-bf16",), Variant.OPENVINO_INT8),
        (CpuKind.BF16, INT8, Variant.FP32),
        (CpuKind.VNNI, (), Variant.OPENVINO_INT8),
        (CpuKind.VNNI, ("openvino-int8",), Variant.FP32),
        (CpuKind.PLAIN, (), Variant.FP32),
    ],
)
def test_each_kind_of_cpu_gets_its_own(kind, refused, expected, manifest: Manifest, tmp_path: Path) -> None:
    write(tmp_path, manifest, refused=refused)
    assert choose(tmp_path, manifest, AUTO, kind=kind) == SETUPS[expected]


@pytest.mark.usefixtures("openvino")
def test_what_was_measured_on_a_kind_goes_before_the_rule(manifest: Manifest, tmp_path: Path) -> None:
    write(tmp_path, manifest, kind="plain")
    assert choose(tmp_path, manifest, AUTO, kind=CpuKind.PLAIN) == SETUPS[Variant.OPENVINO_BF16]


def test_without_openvino_the_fastest_of_the_rest(manifest, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for kind in CpuKind:
        assert choose(tmp_path, manifest, AUTO, kind=kind) == SETUPS[Variant.FP32]


@pytest.mark.usefixtures("openvino")
def test_a_changed_file_is_passed_over_and_never_forced(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / INT8_FILE).write_bytes(b"another graph")
    assert choose(tmp_path, manifest, AUTO, kind=CpuKind.VNNI) == SETUPS[Variant.FP32]
    with pytest.raises(ModelError, match="was not built or not accepted"):
        choose(tmp_path, manifest, "int8")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": 3}', '{"onnx_sha256": 1, "rows": [{}]}', "{"])
def test_a_broken_record_means_fp32(text: str, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / VARIANTS_FILE).write_text(text)
    assert choose(tmp_path, manifest, AUTO) == SETUPS[Variant.FP32]
    (tmp_path / VARIANTS_FILE).unlink()
    assert choose(tmp_path, manifest, AUTO) == SETUPS[Variant.FP32]


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        ("flags\t\t: fpu avx2 avx512_vnni amx_bf16 avx512_bf16 amx_tile amx_int8", CpuKind.AMX),
        ("flags\t\t: fpu avx2 avx512_vnni avx512_bf16", CpuKind.BF16),
        ("flags\t\t: fpu avx2 avx512_vnni", CpuKind.VNNI),
        ("flags\t\t: fpu avx2 avx_vnni", CpuKind.VNNI),
        ("flags\t\t: fpu sse4_2 avx2", CpuKind.PLAIN),
        ("Features\t: fp asimd asimddp", CpuKind.PLAIN),
        ("", CpuKind.PLAIN),
    ],
)
def test_kinds_are_read_from_the_flags(flags: str, kind: CpuKind) -> None:
    assert cpu_kind(f"processor\t: 0\n{flags}\nbugs\t\t:\n") is kind


def test_the_rule_names_no_variant_twice_and_fp32_never() -> None:
    for order in variants.UNMEASURED.values():
        assert len(set(order)) == len(order)
        assert Variant.FP32 not in order


@pytest.mark.usefixtures("openvino")
def test_what_was_measured_of_the_shipped_version_is_of_its_graph() -> None:
    """Or what is fast would be lost without a word when the next version ships."""
    directory = latest_version(REPOSITORY / CLASSIFIER)
    shipped = read_manifest(directory)
    assert read_variants(directory, shipped.onnx_sha256)["fastest"] == Variant.OPENVINO_INT8_BF16
    assert choose(directory, shipped, AUTO, kind=CpuKind.AMX) == SETUPS[Variant.OPENVINO_BF16]
    assert choose(directory, shipped, AUTO, kind=CpuKind.BF16) == SETUPS[Variant.OPENVINO_INT8_BF16]
    assert choose(directory, shipped, AUTO, kind=CpuKind.VNNI) == SETUPS[Variant.OPENVINO_INT8]
    assert choose(directory, shipped, AUTO, kind=CpuKind.PLAIN) == SETUPS[Variant.FP32]


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize(
    ("kind", "expected"), [(CpuKind.BF16, Variant.OPENVINO_BF16), (CpuKind.VNNI, Variant.OPENVINO_INT8)]
)
def test_bfloat16_that_was_fast_is_left_alone_where_it_is_emulated(
    tmp_path: Path, manifest: Manifest, kind: CpuKind, expected: Variant
) -> None:
    write(tmp_path, manifest, kind="bf16")
    assert choose(tmp_path, manifest, AUTO, kind=kind) == SETUPS[expected]


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("avx2 avx512f", False), ("avx512_bf16", True), ("amx_tile amx_bf16", True), ("asimd bf16", True), ("", False)],
)
def test_bfloat16_is_used_where_the_processor_has_it(flags: str, fast: bool) -> None:
    assert bfloat16_is_fast(f"processor : 0\nflags : {flags}\n") is fast
