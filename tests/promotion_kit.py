"""A registry, a repository and two toy models to promote, and processes that die at a named step."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from toy_model import SAMPLES, copy_repository, publish_toy, toy_bundle, toy_findings

from veriphoto.manifest import ONNX_FILE, read_manifest, sha256_file
from veriphoto.variants import INT8_FILE, VARIANTS_FILE, cpu_kind
from veriphoto_release.adoption import adopt, example
from veriphoto_release.promotion import Place, promote, rollback
from veriphoto_release.registration import register
from veriphoto_release.registry import Registry
from veriphoto_release.triton import Triton

GOLDEN = SAMPLES[:2]
SHIFT = 0.02
"""By how much, at most, the stand-in for INT8 differs from fp32 in probability: more than golden pictures may."""
_FORKS = multiprocessing.get_context("forkserver")
_PRELOAD = ["promotion_kit", "mlflow", "mlflow.onnx", "mlflow.store.tracking.sqlalchemy_store"]


@dataclass(frozen=True)
class Ground:
    """A directory with ``var`` and ``model repository`` in it."""

    root: Path

    @property
    def repository(self) -> Path:
        return self.root / "model repository"

    @property
    def registry(self) -> Registry:
        return Registry(self.root / "var")

    def place(self, triton: Triton) -> Place:
        return Place(registry=self.registry, repository=self.repository, triton=triton, golden=GOLDEN)

    def copy(self, target: Path) -> Ground:
        """Copies it; MLflow keeps absolute paths, so models are still read from the original."""
        shutil.copytree(self.root, target)
        return Ground(target)


def register_toy(registry: Registry, seed: int, step: Callable[[str], None] = lambda _: None) -> int:
    findings = replace(toy_findings(), lineage=replace(toy_findings().lineage, run_id=f"seed {seed}", seed=seed))
    bundle = replace(toy_bundle(seed), findings=findings)
    made = register(bundle, registry=registry, example=example(GOLDEN), step=step)
    return made.number


def prepare(root: Path) -> Ground:
    """Version 1 served (seed 1), models 1 (that one) and 2 (seed 2) registered."""
    ground = Ground(root)
    copy_repository(ground.repository)
    publish_toy(ground.repository, 1)
    adopt(ground.registry, ground.repository, GOLDEN)
    register_toy(ground.registry, 2)
    return ground


def content(_: Any, __: Any) -> list[Any]:
    """A judge that finds nothing to complain about."""
    return []


def run_promote(ground: Ground, url: str, key: str, which: str, step: Callable[[str], None]) -> None:
    promote(which, ground.place(Triton(http_url=url, admin_key=key)), judge=content, step=step)


def run_rollback(ground: Ground, url: str, key: str, _: str, step: Callable[[str], None]) -> None:
    rollback(ground.place(Triton(http_url=url, admin_key=key)), step=step)


def ready_to_die() -> None:
    """Starts the server that ``die_at`` forks from, if it does not run; it imports for seconds, beside its caller."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # it finds our modules through it
        _FORKS.set_forkserver_preload(_PRELOAD)
        forkserver.ensure_running()


def die_at(action: Callable[..., None], step: str, arguments: Sequence[Any]) -> int:
    """Runs an action in a process of its own that gets SIGKILL as a step begins; returns its exit code."""
    ready_to_die()
    process = _FORKS.Process(target=_act, args=(action, step, tuple(arguments)))
    process.start()
    process.join(240)
    code = process.exitcode
    process.kill()  # where it did not come to the step in that time
    process.join()
    process.close()
    return -999 if code is None else code


def run_register(file: Path, ground: Ground, seed: int, step: Callable[[str], None]) -> None:
    os.environ[f"TOY_GRAPH_{seed}"] = str(file)
    register_toy(ground.registry, seed, step)


def _act(action: Callable[..., None], step: str, arguments: tuple[Any, ...]) -> None:
    def at(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    action(*arguments, at)


def shifted(model: onnx.ModelProto, bias: float) -> onnx.ModelProto:
    """The graph with another bias: scores tell which of the two ran."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for constant in other.graph.initializer:
        values = onnx.numpy_helper.to_array(constant)
        if values.size == 1 and np.isclose(float(values.ravel()[0]), bias, atol=1e-6):
            constant.CopyFrom(onnx.numpy_helper.from_array(values + np.float32(SHIFT * 4), constant.name))
            return other
    raise AssertionError("no bias")


def add_variants(directory: Path, **row: object) -> None:
    """As ``export --variants`` leaves them: INT8 accepted and fastest, and a row that was refused."""
    manifest = read_manifest(directory)
    onnx.save(shifted(onnx.load(directory / ONNX_FILE), manifest.evidence_bias), directory / INT8_FILE)
    rows = [
        {"variant": "fp32", "accepted": True, "sha256": manifest.onnx_sha256, "ms_per_crop": {"b1c1": 9.0}},
        {
            "variant": "int8",
            "accepted": True,
            "sha256": sha256_file(directory / INT8_FILE),
            "ms_per_crop": {"b1c1": 4.0},
            "largest_difference": SHIFT,
            **row,
        },
        {"variant": "openvino-int8", "accepted": False, "sha256": "0", "ms_per_crop": {"b1c1": 1.0}},
    ]
    body = {"onnx_sha256": manifest.onnx_sha256, "cpu_kind": cpu_kind(), "rows": rows}
    (directory / VARIANTS_FILE).write_text(json.dumps(body))
