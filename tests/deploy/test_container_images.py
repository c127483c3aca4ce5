"""What the images are made of, and the scripts they bring along."""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import ROOT, compose, needs

from veriphoto.contract import (
    GATEWAY_PORT,
    SIDECAR_PORT,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
)
from veriphoto_client.page.command import PAGE_PORT
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.triton.ports import LOOPBACK, free_ports

DOCKER = ROOT / "docker"
LOCKS = DOCKER / "requirements"
# Which extra of pyproject.toml each lock is made from.
EXTRAS = {
    "triton": None,
    "gateway": "gateway",
    "sidecar": "monitor",
    "page": "page",
    "scanner": "ray",
    "trainer": "pipeline",
}
PORTS = {"gateway": GATEWAY_PORT, "sidecar": SIDECAR_PORT, "page": PAGE_PORT, "mlflow": 5000}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: str) -> dict[str, str]:
    text = (LOCKS / f"{lock}.txt").read_text("utf-8")
    return {normal(name): version for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.M)}


def wanted(extra: str | None) -> set[str]:
    """The names that an extra installs directly, through the extras that it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names, ahead = set(), [*project["dependencies"]]
    ahead += project["optional-dependencies"][extra] if extra else []
    while ahead:
        requirement = ahead.pop()
        own = re.match(r"veriphoto\[([a-z,]+)\]", requirement)
        if own:
            ahead += [each for part in own[1].split(",") for each in project["optional-dependencies"][part]]
        else:
            names.add(normal(re.match(r"[A-Za-z0-9_.-]+", requirement)[0]))  # type: ignore[index]
    return names


@pytest.mark.parametrize(("lock", "extra"), EXTRAS.items())
def test_a_lock_holds_all_that_its_extra_names(lock: str, extra: str | None) -> None:
    missing = wanted(extra) - locked(lock).keys()
    assert not missing, f"run docker/requirements/lock.sh: {missing}"


@pytest.mark.parametrize("lock", [*EXTRAS, "mlflow", "build"])
def test_every_locked_version_has_a_hash(lock: str) -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", (LOCKS / f"{lock}.txt").read_text("utf-8"), flags=re.M)[1:]
    assert len(entries) > 2 or lock == "triton"
    assert all("--hash=sha256:" in each for each in entries)


@pytest.mark.parametrize("lock", ["triton", "gateway", "sidecar", "page", "scanner"])
def test_what_serves_holds_no_torch(lock: str) -> None:
    assert not {name for name in locked(lock) if name.startswith(("torch", "timm", "nvidia-", "triton-"))}


@pytest.mark.parametrize("lock", ["gateway", "sidecar", "page", "scanner", "trainer"])
def test_what_starts_with_our_command_line_holds_what_that_is_made_of(lock: str) -> None:
    assert {"typer", "rich"} <= locked(lock).keys()


def test_one_numpy_and_one_pillow_everywhere() -> None:
    for name in ("numpy", "pillow"):
        assert len({locked(lock)[name] for lock in EXTRAS}) == 1
    assert locked("triton")["numpy"].startswith("1.")


def test_client_and_server_of_mlflow_are_of_one_version() -> None:
    assert locked("mlflow")["mlflow"] == locked("trainer")["mlflow"]


def test_the_scanners_ray_is_the_clusters() -> None:
    manifest = (ROOT / "deploy" / "kubernetes" / "ray" / "rayjob.yaml").read_text("utf-8")
    assert f"rayVersion: {locked('scanner')['ray']}\n" in manifest


def stage(target: str) -> str:
    """The instructions of a stage."""
    text = (DOCKER / "python.Dockerfile").read_text("utf-8")
    found = re.search(rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM|\Z)", text, re.M | re.S)
    assert found, target
    return found[1]


@pytest.mark.parametrize(("target", "port"), PORTS.items())
def test_an_image_exposes_and_asks_the_port_of_the_contract(target: str, port: int) -> None:
    assert re.findall(r"^EXPOSE (.*)$", stage(target), re.M) == [str(port)]
    assert f"http://127.0.0.1:{port}/" in stage(target)


def test_tritons_image_exposes_the_ports_of_the_contract() -> None:
    text = (DOCKER / "triton.Dockerfile").read_text("utf-8")
    assert f"EXPOSE {TRITON_HTTP_PORT} {TRITON_GRPC_PORT} {TRITON_METRICS_PORT}\n" in text
    assert f"http://127.0.0.1:{TRITON_HTTP_PORT}/v2/health/ready" in text


def test_whichever_image_fills_the_models_volume_the_trainer_can_publish_into_it() -> None:
    filled = "COPY --chown=10001:10001 model_repository /models\n"
    assert filled in stage("sidecar")
    assert filled in (DOCKER / "triton.Dockerfile").read_text("utf-8")


@pytest.mark.parametrize("file", ["python.Dockerfile", "triton.Dockerfile"])
def test_every_stage_that_is_shipped_runs_unprivileged_and_says_how_it_is(file: str) -> None:
    text = (DOCKER / file).read_text("utf-8")
    assert "USER 10001:10001" in text
    assert not re.search(r"^(ADD|USER root)", text, re.M)
    for target in PORTS if file == "python.Dockerfile" else ():
        assert "HEALTHCHECK" in stage(target)
        assert "FROM runtime AS " + target in text


def test_triton_is_a_release_without_known_remote_vulnerabilities() -> None:
    places = [DOCKER / "triton.Dockerfile", DOCKER / "build-plan.sh", ROOT / "compose.yaml"]
    for place in places:
        for release in re.findall(r"tritonserver:(\d\d\.\d\d)", place.read_text("utf-8")):
            assert release >= "26.06", place


@pytest.mark.parametrize("file", ["python.Dockerfile", "triton.Dockerfile"])
def test_hadolint_has_nothing_to_say(file: str) -> None:
    subprocess.run([needs("hadolint"), str(DOCKER / file)], check=True)


def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [str(each) for each in [*sorted(DOCKER.rglob("*.sh")), ROOT / "deploy" / "watch.sh"]]
    subprocess.run([needs("shellcheck"), *scripts], check=True)


def make_secrets(directory: Path) -> dict[str, str]:
    subprocess.run([DOCKER / "make-secrets.sh", directory], check=True, timeout=20)
    return {each.name: each.read_text("utf-8") for each in directory.iterdir()}


def test_secrets_are_made_once_and_fit_together(tmp_path: Path) -> None:
    secrets = make_secrets(tmp_path / "secrets")
    assert secrets == make_secrets(tmp_path / "secrets")
    assert secrets != make_secrets(tmp_path / "others")
    keys = GatewaySettings(api_keys_file=tmp_path / "secrets" / "api_keys").keys()
    assert keys.keys() == {"page", "prometheus"}
    assert secrets["page.env"] == f"VERIPHOTO_API_KEY={keys['page']}\n"
    assert secrets["metrics_key"] == keys["prometheus"]
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert {*compose()["secrets"], "page.env"} == secrets.keys()


class Answers(http.server.BaseHTTPRequestHandler):
    """200 for /well, 503 for the rest."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_page_ends_when_it_is_told_to_as_a_containers_first_process_is() -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", "from veriphoto_client.cli import main; main()", "page", "--page-port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
                break
            assert process.poll() is None
            time.sleep(0.2)
        process.terminate()
        process.wait(20)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, port), timeout=1)
    finally:
        process.kill()


def test_the_health_check_tells_well_from_ill_from_away(service: str) -> None:
    def ask(url: str) -> int:
        script = DOCKER / "healthcheck.py"
        return subprocess.run(
            [sys.executable, "-I", script, url], capture_output=True, timeout=30, check=False
        ).returncode

    assert ask(f"{service}/well") == 0
    assert ask(f"{service}/ill") == 1
    assert ask("http://127.0.0.1:1/well") == 1
