"""Reads what is deployed: compose, the rendered manifests, the units, and what of the code they must agree with."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from veriphoto_client.catalogue.options import CatalogueOptions
from veriphoto_client.commandline.options import environment_variable, options_of
from veriphoto_client.commands.engines import EngineOptions
from veriphoto_monitoring.settings import BaselineSettings, CanarySettings, DriftSettings, MonitorSettings
from veriphoto_serving.cli import ServeOptions
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.installation import Installation
from veriphoto_serving.triton.options import TritonOptions

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "client", "serving", "monitoring", "review", "training", "export", "release", "model_repository")
OVERLAYS = ("cpu", "gpu")
VARIABLE = re.compile(r"VERIPHOTO_[A-Z0-9_]+")

# What only the containers' shell knows: where the key of the administrative APIs lies.
ENTRYPOINT_VARIABLES = {"VERIPHOTO_TRITON_ADMIN_KEY_FILE"}
# What only `docker compose` reads, to fill compose.yaml itself.
COMPOSE_VARIABLES = {
    "VERIPHOTO_REGISTRY",
    "VERIPHOTO_TAG",
    "VERIPHOTO_PUBLISH",
    "VERIPHOTO_SECRETS",
    "VERIPHOTO_DATA",
}


def needs(*names: str) -> str:
    """Returns the path of a program, by any of its names, or skips the test that wants it."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"{' or '.join(names)} is not installed here")
    return found


@cache
def known_variables() -> frozenset[str]:
    """Environment variables that the code reads: those of settings and literals of packages and provisioning."""
    settings = (
        *(ServeOptions, TritonOptions, GatewaySettings, MonitorSettings, DriftSettings, BaselineSettings),
        *(CanarySettings, EngineOptions, CatalogueOptions),
    )
    found = {environment_variable(each.name, how) for kind in settings for each, how in options_of(kind)}
    names = {name for name in found if name}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            names |= set(VARIABLE.findall(file.read_text("utf-8")))
    for file in (ROOT / "monitoring" / "grafana" / "provisioning").rglob("*.yml"):
        names |= set(VARIABLE.findall(file.read_text("utf-8")))
    return frozenset(names)


@cache
def compose() -> dict[str, Any]:
    """compose.yaml, its anchors resolved and its variables not."""
    text = (ROOT / "compose.yaml").read_text("utf-8")
    body: dict[str, Any] = yaml.safe_load(text)
    return body


def default(value: str) -> str:
    """Fills ``${NAME:-default}`` with the default, as compose does where nothing is set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)


@cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    """The manifests of an overlay as a cluster gets them."""
    folder = ROOT / "deploy" / "kubernetes" / "overlays" / overlay
    if shutil.which("kustomize"):
        command = ["kustomize", "build", str(folder)]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(folder)]
    else:
        pytest.skip("neither kustomize nor kubectl is installed here")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(yaml.safe_load_all(done.stdout))


def manifests(path: str) -> tuple[dict[str, Any], ...]:
    """The documents of a file under deploy/kubernetes."""
    return tuple(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / path).read_text("utf-8")))


def one(resources: tuple[dict[str, Any], ...], kind: str, name: str) -> dict[str, Any]:
    """The one resource of that kind and name."""
    found = [each for each in resources if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, (kind, name, len(found))
    return found[0]


def containers(resources: tuple[dict[str, Any], ...]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each Deployment's name, pod and container."""
    for each in resources:
        if each["kind"] == "Deployment":
            pod = each["spec"]["template"]["spec"]
            for container in pod["containers"]:
                yield each["metadata"]["name"], pod, container


def container(resources: tuple[dict[str, Any], ...], name: str) -> dict[str, Any]:
    """The container of that name."""
    return next(found for _, _, found in containers(resources) if found["name"] == name)


def launcher_flags(address: str, models: str = "/models", flavour: Any = None) -> set[str]:
    """The flags of `veriphoto serve` for a server that brings its own backends, where a container must differ.

    A container listens on its own addresses, has the models elsewhere, and has no neighbour whose shared memory it
    could mistake for its own. The flags that hold the key are left out: see ``restricted_flags``.
    """
    options = TritonOptions(model_repository=Path("models"), admin_key="KEY", region_prefix="REGION", flavour=flavour)
    flags = set(options.argv(Installation(binary=Path("tritonserver")))[1:]) - set(restricted_flags("KEY"))
    changed = {
        "--model-repository=models": f"--model-repository={models}",
        "--http-address=127.0.0.1": f"--http-address={address}",
        "--grpc-address=127.0.0.1": f"--grpc-address={address}",
        "--metrics-address=127.0.0.1": f"--metrics-address={address}",
        "--backend-config=python,shm-region-prefix-name=REGION": (
            "--backend-config=python,shm-region-prefix-name=triton_python_backend_shm_region_veriphoto_"
        ),
    }
    assert changed.keys() <= flags, changed.keys() - flags
    return (flags - changed.keys()) | set(changed.values())


def restricted_flags(key: str) -> list[str]:
    """The launcher's flags that close the administrative APIs."""
    options = TritonOptions(model_repository=Path("models"), admin_key=key)
    argv = options.argv(Installation(binary=Path("tritonserver")))
    return [flag for flag in argv if "restricted" in flag]
