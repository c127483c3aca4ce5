"""compose.yaml keeps to the code's names and ports, and opens one door."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from deployment import COMPOSE_VARIABLES, ROOT, VARIABLE, compose, default, known_variables

from veriphoto.contract import GATEWAY_PORT, SIDECAR_PORT, TRITON_GRPC_PORT, TRITON_HTTP_PORT, TRITON_METRICS_PORT
from veriphoto_client.page.command import PAGE_PORT
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.launcher import STACK_BYTES
from veriphoto_serving.triton.options import TritonOptions

PROMETHEUS = ROOT / "docker" / "prometheus"


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def of_profile(profile: str) -> set[str]:
    return {name for name, service in services().items() if profile in service.get("profiles", [])}


def published(name: str) -> list[str]:
    return [default(port) for port in services()[name].get("ports", [])]


def test_profiles_hold_what_they_promise() -> None:
    door = {"gateway", "page", "sidecar"}
    assert of_profile("cpu") == door | {"triton-cpu"}
    assert of_profile("gpu") == door | {"triton-gpu"}
    assert of_profile("monitoring") == {"mlflow", "prometheus", "grafana"}
    assert of_profile("train") == {"trainer"}
    assert all(service.get("profiles") for service in services().values())


def test_triton_and_sidecar_are_on_a_network_without_a_way_out() -> None:
    assert compose()["networks"]["inference"] == {"internal": True}
    for name in ("triton-cpu", "triton-gpu", "sidecar"):
        assert [*services()[name]["networks"]] == ["inference"], name
        assert not published(name)


def test_only_the_doors_are_published_and_on_loopback_by_default() -> None:
    doors = {name for name in services() if published(name)}
    assert doors == {"gateway", "page", "mlflow", "prometheus", "grafana"}
    for name in doors:
        assert all(port.startswith("127.0.0.1:") for port in published(name)), name


@pytest.mark.parametrize("name", services())
def test_every_service_is_locked_down(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert not service.get("user", "").startswith(("0", "root"))
    assert ":latest" not in service["image"]
    assert ":" in service["image"]


def test_names_of_variables_are_the_codes() -> None:
    used = set(VARIABLE.findall((ROOT / "compose.yaml").read_text("utf-8")))
    assert used - COMPOSE_VARIABLES <= known_variables()


def test_the_gateway_finds_the_others() -> None:
    environment = services()["gateway"]["environment"]
    assert environment["VERIPHOTO_TRITON_URL"] == f"grpc://triton:{TRITON_GRPC_PORT}"
    assert environment["VERIPHOTO_SIDECAR_URL"] == f"http://sidecar:{SIDECAR_PORT}/drift"
    assert published("gateway") == [f"127.0.0.1:{GATEWAY_PORT}:{GATEWAY_PORT}"]
    assert published("page") == [f"127.0.0.1:{PAGE_PORT}:{PAGE_PORT}"]
    assert services()["page"]["environment"]["VERIPHOTO_GATEWAY_URL"] == f"http://gateway:{GATEWAY_PORT}"
    for name in ("triton-cpu", "triton-gpu"):
        assert services()[name]["networks"]["inference"]["aliases"] == ["triton"]


def test_the_trainer_can_promote_what_it_made() -> None:
    """It reaches Triton and its key, the registry, and the repository that Triton reads."""
    trainer, triton = services()["trainer"], services()["triton-cpu"]
    assert trainer["environment"]["VERIPHOTO_TRITON_HTTP"] == f"triton:{TRITON_HTTP_PORT}"
    assert set(triton["networks"]) < set(trainer["networks"])
    assert set(services()["mlflow"]["networks"]) < set(trainer["networks"])
    (secret,) = triton["secrets"]
    assert secret in trainer["secrets"]
    assert trainer["environment"]["VERIPHOTO_TRITON_ADMIN_KEY_FILE"] == f"/run/secrets/{secret}"
    assert "models:/models" in trainer["volumes"]
    assert trainer["environment"]["VERIPHOTO_MODEL_REPOSITORY"] == "/models"


def test_what_is_asked_to_stop_is_given_the_time_it_takes() -> None:
    gateway = GatewaySettings()
    slowest = gateway.drain + gateway.request_timeout + gateway.upload_timeout
    assert seconds(services()["gateway"]["stop_grace_period"]) > slowest
    for name in ("triton-cpu", "triton-gpu"):
        service = services()[name]
        exit_s = TritonOptions.__dataclass_fields__["exit_timeout_s"].default
        assert seconds(service["stop_grace_period"]) > exit_s
        assert service["ulimits"]["stack"] == STACK_BYTES
        assert service["shm_size"] == "1gb"


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


def test_every_volume_and_secret_that_is_mounted_is_declared() -> None:
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = default(volume).partition(":")[0]
            assert source.startswith(".") or source in compose()["volumes"], (name, source)
        assert set(service.get("secrets", [])) <= compose()["secrets"].keys()


def test_only_the_trainer_may_change_the_models() -> None:
    for name, service in services().items():
        for volume in service.get("volumes", []):
            if volume.startswith("models:"):
                assert volume.endswith(":ro") == (name != "trainer"), name


def test_prometheus_here_asks_as_everywhere_but_for_places_and_the_key() -> None:
    ours = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    theirs = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    gateway = next(job for job in ours["scrape_configs"] if job["job_name"] == "veriphoto-gateway")
    assert gateway.pop("authorization") == {"type": "Bearer", "credentials_file": "/run/secrets/metrics_key"}
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("gateway", f"gateway:{GATEWAY_PORT}"),
        ("triton", f"triton:{TRITON_METRICS_PORT}"),
        ("sidecar", f"sidecar:{SIDECAR_PORT}"),
    ],
)
def test_prometheus_looks_where_they_listen(name: str, target: str) -> None:
    assert yaml.safe_load((PROMETHEUS / "targets" / f"{name}.yml").read_text("utf-8")) == [{"targets": [target]}]


def test_what_is_mounted_from_here_is_here() -> None:
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = default(volume).partition(":")[0]
            if source.startswith("./") and not source.startswith(("./data", "./var")):
                assert (ROOT / source).exists(), (name, source)
