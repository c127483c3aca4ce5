"""The manifests are valid Kubernetes, keep to the code's names and ports, and let only the gateway reach Triton."""

from __future__ import annotations

import importlib.util
import logging
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import yaml
from deployment import (
    ENTRYPOINT_VARIABLES,
    OVERLAYS,
    ROOT,
    VARIABLE,
    container,
    containers,
    known_variables,
    manifests,
    one,
    rendered,
)

from veriphoto.contract import (
    CLASSIFIER,
    GATEWAY_PORT,
    SIDECAR_PORT,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
)
from veriphoto_client.page.command import PAGE_PORT
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.options import TritonOptions

HERE = ROOT / "deploy" / "kubernetes"
OTHERS = ("ray/rayjob.yaml", "kserve/inferenceservice.yaml")
# Kinds of other projects: the schemas here do not know them.
FOREIGN = {"ServiceMonitor", "PrometheusRule", "RayJob", "InferenceService"}


def version() -> str:
    return str(kubernetes_validate.latest_version())


def validate(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, version(), strict=True)


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("kubernetes_validate").setLevel(logging.ERROR)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid(overlay: str) -> None:
    kinds = []
    for resource in rendered(overlay):
        if resource["kind"] not in FOREIGN:
            validate(resource)
        kinds.append(resource["kind"])
    assert {"Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget"} <= set(kinds)


def test_the_schemas_refuse_what_is_wrong() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(one(rendered("cpu"), "Deployment", "gateway")))
    wrong["spec"]["replcas"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(wrong)


@pytest.mark.parametrize("path", OTHERS)
def test_pods_inside_foreign_kinds_are_valid(path: str) -> None:
    pods = []
    for resource in manifests(path):
        if resource["kind"] not in FOREIGN:
            validate(resource)
        elif resource["kind"] == "RayJob":
            cluster = resource["spec"]["rayClusterSpec"]
            pods += [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
        else:
            predictor = resource["spec"]["predictor"]
            model = {key: value for key, value in predictor["model"].items() if key not in KSERVE}
            spec = {key: predictor[key] for key in ("securityContext", "automountServiceAccountToken", "volumes")}
            pods.append({"spec": {**spec, "containers": [{"name": "kserve-container", **model}]}})
    assert pods
    for pod in pods:
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod["spec"]})


KSERVE = {"modelFormat", "protocolVersion", "storageUri"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_are_the_contracts(overlay: str) -> None:
    ports = {
        port["name"] + "@" + found["name"]: port["containerPort"]
        for _, _, found in containers(rendered(overlay))
        for port in found["ports"]
    }
    assert ports == {
        "http@triton": TRITON_HTTP_PORT,
        "grpc@triton": TRITON_GRPC_PORT,
        "metrics@triton": TRITON_METRICS_PORT,
        "drift@sidecar": SIDECAR_PORT,
        "http@gateway": GATEWAY_PORT,
        "http@page": PAGE_PORT,
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_lead_to_ports_and_pods_that_are_there(overlay: str) -> None:
    resources = rendered(overlay)
    pods = {each["metadata"]["name"]: each["spec"]["template"] for each in resources if each["kind"] == "Deployment"}
    for service in (each for each in resources if each["kind"] == "Service"):
        wanted = service["spec"]["selector"].items()
        behind = [pod for pod in pods.values() if wanted <= pod["metadata"]["labels"].items()]
        assert len(behind) == 1, service["metadata"]["name"]
        names = {port["name"]: port["containerPort"] for c in behind[0]["spec"]["containers"] for port in c["ports"]}
        for port in service["spec"]["ports"]:
            assert names[port["targetPort"]] == port["port"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_locked_down_and_bounded(overlay: str) -> None:
    for name, pod, found in containers(rendered(overlay)):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["automountServiceAccountToken"] is False
        assert found["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= found["resources"]["requests"].keys()
        assert "memory" in found["resources"]["limits"]
        assert found["image"].startswith("registry.example/veriphoto/")
        assert not found["image"].endswith(":latest")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_the_gateway_for_its_test_picture(overlay: str) -> None:
    gateway = container(rendered(overlay), "gateway")
    paths = {kind: gateway[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/startup", "readiness": "/readyz", "liveness": "/healthz"}
    routes = (ROOT / "serving" / "veriphoto_serving" / "gateway" / "routes" / "health.py").read_text("utf-8")
    assert all(f'@router.get("{path}"' in routes for path in paths.values())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_may_finish_what_they_have(overlay: str) -> None:
    resources = rendered(overlay)
    settings = GatewaySettings()
    gateway = one(resources, "Deployment", "gateway")["spec"]["template"]["spec"]
    drain = next(float(e["value"]) for e in gateway["containers"][0]["env"] if e["name"] == "VERIPHOTO_DRAIN")
    assert gateway["terminationGracePeriodSeconds"] > drain + settings.request_timeout + settings.upload_timeout
    triton = one(resources, "Deployment", "triton")["spec"]["template"]["spec"]
    pause = int(container(resources, "triton")["lifecycle"]["preStop"]["exec"]["command"][1])
    exit_s = TritonOptions.__dataclass_fields__["exit_timeout_s"].default
    assert triton["terminationGracePeriodSeconds"] > pause + exit_s


def test_names_of_variables_are_the_codes() -> None:
    text = "".join(file.read_text("utf-8") for file in HERE.rglob("*.yaml") if "monitoring" not in file.parts)
    # The job's own two, which its command line is filled from.
    own = {"VERIPHOTO_SCAN_SOURCE", "VERIPHOTO_SCAN_OUTPUT"}
    assert set(VARIABLE.findall(text)) - own - ENTRYPOINT_VARIABLES <= known_variables()


def allowed(policy: dict[str, Any], port: int) -> list[dict[str, Any]]:
    """Who may come in at a port; a rule without `from` lets everybody in."""
    rules = [rule for rule in policy["spec"]["ingress"] if port in {each["port"] for each in rule["ports"]}]
    return [peer for rule in rules for peer in rule.get("from", [{"anybody": True}])]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_gateway_reaches_triton(overlay: str) -> None:
    resources = rendered(overlay)
    deny = one(resources, "NetworkPolicy", "default-deny")["spec"]
    assert deny["podSelector"] == {}
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    triton = one(resources, "NetworkPolicy", "triton")
    for port in (TRITON_GRPC_PORT, SIDECAR_PORT):
        peers = [peer for peer in allowed(triton, port) if "podSelector" in peer]
        assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in peers] == ["gateway"]
    assert allowed(triton, TRITON_HTTP_PORT) == []
    assert [*allowed(triton, TRITON_GRPC_PORT)] == [
        peer for peer in allowed(triton, TRITON_GRPC_PORT) if "podSelector" in peer
    ]
    assert triton["spec"]["egress"] == []
    gateway = one(resources, "Deployment", "gateway")["spec"]["template"]["metadata"]["labels"]
    assert gateway["app.kubernetes.io/name"] == "gateway"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_more_tritons_come_when_pictures_wait(overlay: str) -> None:
    spec = one(rendered(overlay), "HorizontalPodAutoscaler", "triton")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "triton"}
    assert "replicas" not in one(rendered(overlay), "Deployment", "triton")["spec"]
    metric = spec["metrics"][0]["external"]["metric"]
    adapter = yaml.safe_load((HERE / "components" / "monitoring" / "adapter-values.yaml").read_text("utf-8"))
    rule = adapter["rules"]["external"][0]
    assert metric["name"] == rule["name"]["as"]
    assert metric["selector"]["matchLabels"] == {"model": CLASSIFIER}
    records = (ROOT / "monitoring" / "prometheus" / "rules" / "records.yml").read_text("utf-8")
    assert f"record: {rule['seriesQuery'].partition('{')[0]}\n" in records


def test_the_gpu_overlay_asks_for_a_gpu_and_its_flavour() -> None:
    cpu, gpu = container(rendered("cpu"), "triton"), container(rendered("gpu"), "triton")
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": "VERIPHOTO_FLAVOUR", "value": "tensorrt"} in gpu["env"]
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"]


def generator() -> ModuleType:
    path = HERE / "components" / "monitoring" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate_prometheusrule", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_prometheus_rule_is_what_prometheus_is_told() -> None:
    text = (HERE / "components" / "monitoring" / "prometheusrule.yaml").read_text("utf-8")
    assert text == generator().text(), "run deploy/kubernetes/components/monitoring/generate.py"
    groups = yaml.safe_load(text)["spec"]["groups"]
    assert len(groups) > 3
    assert all("alert" in rule or "record" in rule for group in groups for rule in group["rules"])


def test_monitors_bear_the_names_that_alerts_go_by() -> None:
    jobs = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    monitors = [each for each in rendered("cpu") if each["kind"] == "ServiceMonitor"]
    replaced = {each["spec"]["endpoints"][0]["relabelings"][0]["replacement"] for each in monitors}
    assert replaced == {job["job_name"] for job in jobs}
    services = [each for each in rendered("cpu") if each["kind"] == "Service"]
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        behind = [each for each in services if wanted <= each["metadata"]["labels"].items()]
        assert len(behind) == 1
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in behind[0]["spec"]["ports"]}
