"""The Terraform files parse, and say what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hcl2
import pytest
from deployment import ROOT, VARIABLE, known_variables

from veriphoto.contract import GATEWAY_PORT, TRITON_GRPC_PORT, TRITON_HTTP_PORT

FILES = sorted((ROOT / "deploy" / "terraform").glob("*.tf"))


@pytest.fixture(scope="module")
def resources() -> dict[str, dict[str, Any]]:
    """Type and name -> body of each resource."""
    found = {}
    for path in FILES:
        with path.open(encoding="utf-8") as file:
            body = hcl2.load(file)
        for each in body.get("resource", []):
            for kind, named in each.items():
                for name, content in named.items():
                    found[f"{bare(kind)}.{bare(name)}"] = content
    return found


def bare(text: str) -> str:
    """Some releases of the parser keep the quotes of labels and strings."""
    return text.strip('"')


def test_all_that_was_promised_is_there(resources: dict[str, Any]) -> None:
    kinds = {name.partition(".")[0] for name in resources}
    assert kinds >= {
        "google_artifact_registry_repository",
        "google_cloud_run_v2_service",
        "google_storage_bucket",
        "google_service_account",
        "google_billing_budget",
        "google_monitoring_uptime_check_config",
        "google_secret_manager_secret",
    }


def text(path: Path) -> str:
    return path.read_text("utf-8")


def test_the_service_account_may_read_models_and_keys_and_nothing_else(resources: dict[str, Any]) -> None:
    roles = {
        bare(body["role"])
        for body in resources.values()
        if "role" in body and "google_service_account.service" in str(body.get("member", ""))
    }
    assert roles == {"roles/storage.objectViewer", "roles/secretmanager.secretAccessor"}
    assert not [name for name in resources if name.startswith("google_project_iam")]


def test_no_secret_passes_through_terraform(resources: dict[str, Any]) -> None:
    assert not [name for name in resources if "secret_version" in name or name.endswith("_key")]


def test_ports_and_names_are_the_codes() -> None:
    run = text(ROOT / "deploy" / "terraform" / "run.tf")
    assert f"container_port = {GATEWAY_PORT}\n" in run
    assert f'"grpc://127.0.0.1:{TRITON_GRPC_PORT}"' in run
    assert f"port = {TRITON_HTTP_PORT}\n" in run
    places = re.search(r'"VERIPHOTO_MAX_IN_FLIGHT"\s+value = "(\d+)"', run)
    assert places is not None
    assert f"max_instance_request_concurrency = {places[1]} " in run
    assert set(VARIABLE.findall(run)) <= known_variables()


def test_whoever_asks_from_outside_avoids_paths_that_cloud_run_keeps() -> None:
    watch = text(ROOT / "deploy" / "terraform" / "watch.tf")
    assert 'path         = "/health"' in watch
    assert '-raw url)/health"' in text(ROOT / ".github" / "workflows" / "deploy.yml")


def test_every_variable_is_used_and_described() -> None:
    everything = "".join(text(path) for path in FILES)
    with (ROOT / "deploy" / "terraform" / "variables.tf").open(encoding="utf-8") as file:
        variables = {bare(name): body for each in hcl2.load(file)["variable"] for name, body in each.items()}
    for name, body in variables.items():
        assert f"var.{name}" in everything, name
        assert body["description"], name
