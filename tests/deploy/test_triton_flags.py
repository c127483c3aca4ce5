"""Triton runs with one set of flags, whoever starts it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import hcl2
import pytest
from deployment import (
    OVERLAYS,
    ROOT,
    compose,
    container,
    launcher_flags,
    manifests,
    one,
    rendered,
    restricted_flags,
)

from veriphoto_serving.triton.launcher import STACK_BYTES
from veriphoto_serving.triton.options import Flavour
from veriphoto_serving.triton.shared_memory import PREFIX

ENTRYPOINT = ROOT / "docker" / "triton-entrypoint.sh"


@pytest.mark.parametrize("service", ["triton-cpu", "triton-gpu"])
def test_compose_has_the_launchers_flags(service: str) -> None:
    assert set(compose()["services"][service]["command"]) == launcher_flags("0.0.0.0")  # noqa: S104


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_has_the_launchers_flags(overlay: str) -> None:
    assert set(container(rendered(overlay), "triton")["args"]) == launcher_flags("0.0.0.0")  # noqa: S104


def test_kserve_has_the_launchers_flags() -> None:
    service = one(manifests("kserve/inferenceservice.yaml"), "InferenceService", "veriphoto")
    assert set(service["spec"]["predictor"]["model"]["args"]) == launcher_flags("0.0.0.0", "/mnt/models")  # noqa: S104


def test_cloud_run_has_the_launchers_flags_and_stays_on_loopback() -> None:
    with (ROOT / "deploy" / "terraform" / "run.tf").open(encoding="utf-8") as file:
        text = str(hcl2.load(file))
    for flag in launcher_flags("127.0.0.1"):
        assert flag in text
    assert text.count("'--") + text.count('"--') >= len(launcher_flags("127.0.0.1"))


def test_the_region_prefix_is_one_that_the_launchers_sweep_knows() -> None:
    flag = next(each for each in launcher_flags("0.0.0.0") if "shm-region" in each)  # noqa: S104
    assert flag.partition("name=")[2].startswith(PREFIX)


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """A directory for PATH whose tritonserver writes down how it was started."""
    program = tmp_path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text('#!/bin/bash\nulimit -s > "$REPORT"\nprintf "%s\\n" "$@" >> "$REPORT"\n')
    program.chmod(0o755)
    return program.parent


def run_entrypoint(started: Path, *arguments: str, **variables: str) -> list[str]:
    report = started / "report"
    environment = {"PATH": f"{started}{os.pathsep}{os.environ['PATH']}", "REPORT": str(report), **variables}
    subprocess.run([ENTRYPOINT, *arguments], env=environment, check=True, capture_output=True, timeout=20)
    return report.read_text("utf-8").splitlines()


def test_the_entry_point_adds_the_key_and_the_stack(started: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret-key\n")
    stack, *flags = run_entrypoint(started, "--log-format=ISO8601", VERIPHOTO_TRITON_ADMIN_KEY_FILE=str(key))
    assert int(stack) * 1024 == STACK_BYTES
    assert flags == ["--log-format=ISO8601", *restricted_flags("s3cret-key")]


@pytest.mark.parametrize("flavour", [Flavour.ONNXRUNTIME, Flavour.TENSORRT])
def test_the_entry_point_knows_flavours_as_the_launcher_does(started: Path, flavour: Flavour) -> None:
    _, *flags = run_entrypoint(started, VERIPHOTO_FLAVOUR=flavour.value)
    added = {each for each in flags if "restricted" not in each}
    assert added == launcher_flags("0.0.0.0", flavour=flavour) - launcher_flags("0.0.0.0")  # noqa: S104


@pytest.mark.parametrize(("mode", "loaded"), [("auto", True), ("always", True), ("off", False), (None, True)])
def test_the_entry_point_loads_the_encoder_that_is_there(
    started: Path, tmp_path: Path, mode: str | None, loaded: bool
) -> None:
    repository = tmp_path / "the models"
    flag, variables = f"--model-repository={repository}", {"VERIPHOTO_SECOND_OPINION": mode} if mode else {}
    assert "--load-model=encoder" not in run_entrypoint(started, flag, **variables)
    (repository / "encoder" / "1").mkdir(parents=True)
    (repository / "encoder" / "1" / "encoder.json").touch()
    assert ("--load-model=encoder" in run_entrypoint(started, flag, **variables)) is loaded
    embedded = run_entrypoint(started, flag, VERIPHOTO_FLAVOUR=Flavour.EMBEDDED.value, **variables)
    assert "--load-model=encoder" not in embedded, "the step that asks runs it"


def test_without_a_key_the_entry_point_makes_up_a_new_one(started: Path) -> None:
    keys = {run_entrypoint(started)[1].rpartition("=")[2] for _ in range(2)}
    assert len(keys) == 2
    assert all(len(key) == 64 for key in keys)


@pytest.mark.parametrize("key", ["", "two words", "a,b", "a=b"])
def test_a_key_that_would_break_the_flag_is_refused(started: Path, tmp_path: Path, key: str) -> None:
    file = tmp_path / "key"
    file.write_text(key)
    with pytest.raises(subprocess.CalledProcessError):
        run_entrypoint(started, VERIPHOTO_TRITON_ADMIN_KEY_FILE=str(file))
    assert not (started / "report").exists()
