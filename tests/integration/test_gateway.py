"""The gateway before a real tritonserver, as ``veriphoto serve`` starts both."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton_http
from pace import slowness
from toy_model import copy_repository, publish_toy
from tritonclient.utils import InferenceServerException

from veriphoto_client import Detector
from veriphoto_serving.gateway.health.workers import stubs
from veriphoto_serving.triton import shared_memory
from veriphoto_serving.triton.ports import free_ports

ROOT = Path(__file__).parent.parent.parent
COMMAND = str(Path(sys.executable).parent / "veriphoto")
PHOTO = (ROOT / "samples" / "real_boots.jpg").read_bytes()
INSTANCES = 7
"""Stubs of one server, and so its shared-memory regions: two of preprocess and classifier, one of recorder."""
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix in (".jpg", ".png", ".webp"))

pytestmark = pytest.mark.triton


class Served:
    """A running ``veriphoto serve`` with its gateway."""

    def __init__(self, repository: Path, var: Path, *options: str) -> None:
        self.ports = free_ports(4)
        self.grpc = self.ports[1]
        self.url = f"http://127.0.0.1:{self.ports[3]}"
        numbers = zip(("http", "grpc", "metrics", "gateway"), self.ports, strict=True)
        arguments = [f"--var={var}", f"--model-repository={repository}", *(f"--{n}-port={port}" for n, port in numbers)]
        var.mkdir(exist_ok=True)
        self.said = var / "said.txt"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [COMMAND, "serve", "--no-samples", "--no-monitor", *arguments, *options],
                stdout=said,
                stderr=subprocess.DEVNULL,
            )
        try:
            wait_for(self.ready, 180)
        except BaseException:
            self.stop()  # or it would go on, and slow down all that follows
            raise

    def ready(self) -> bool:
        assert self.process.poll() is None
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    @property
    def triton(self) -> int:
        (supervisor,) = children(self.process.pid, "supervisor.py")
        (server,) = children(supervisor, "tritonserver")
        return server

    @property
    def regions(self) -> list[Path]:
        words = Path(f"/proc/{self.triton}/cmdline").read_text().split("\0")
        prefix = next(word for word in words if "shm-region-prefix-name=" in word).rpartition("=")[2]
        return shared_memory.regions(prefix)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(40)


def children(parent: int, name: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ppid = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if ppid == parent and name in (process / "cmdline").read_text():
                found.append(int(process.name))
        except (OSError, ValueError):
            continue
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + seconds
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = copy_repository(tmp_path_factory.mktemp("gateway") / "model repository")
    publish_toy(repository, 1)
    return repository


@pytest.fixture(scope="module")
def served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(repository, tmp_path_factory.mktemp("gateway var"), "--upload-timeout=5")
    yield running
    assert running.stop() == 0


def test_a_monitor_that_is_left_out_is_not_started(served: Served) -> None:
    """``test_monitor_beside.py`` has those that are started, or run elsewhere."""
    asked = "no drift monitor is started here: the gateway asks the one at http://127.0.0.1:8003/drift\n"
    assert asked in served.said.read_text()
    assert "drift is" not in served.said.read_text()
    assert children(served.process.pid, "\0monitor\0") == []


def curl(*arguments: str) -> tuple[int, dict]:
    done = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code}", *arguments], capture_output=True, check=True, text=True
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def test_every_client_gets_what_the_sdk_gets(served: Served) -> None:
    with Detector(f"grpc://127.0.0.1:{served.grpc}") as detector:
        expected = [detector.predict(path).verdict for path in SAMPLES]
    for path, verdict in zip(SAMPLES, expected, strict=True):
        by_form = curl("-F", f"file=@{path}", f"{served.url}/predict")
        by_body = curl("--data-binary", f"@{path}", f"{served.url}/v1/predict")  # with curl's own content type
        by_httpx = httpx.post(f"{served.url}/predict", files={"file": (path.name, path.read_bytes())})
        for status, answer in (by_form, by_body, (by_httpx.status_code, by_httpx.json())):
            assert (status, answer["verdict"], answer["confidence"]) == (200, verdict.verdict, verdict.confidence)
            assert answer["probability"] == pytest.approx(verdict.probability, abs=1e-6)

    batch = httpx.post(f"{served.url}/predict/batch", files=[("files", (p.name, p.read_bytes())) for p in SAMPLES])
    assert [each["probability"] for each in batch.json()["results"]] == [verdict.probability for verdict in expected]


def test_what_crashes_triton_does_not_reach_it(served: Served) -> None:
    server = served.triton
    form = {"content-type": "application/x-www-form-urlencoded"}
    bomb = {"content-encoding": "gzip"}
    crumbs = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 600_000
    assert httpx.post(f"{served.url}/predict", content=bytes(19_000_000), headers=form).status_code == 422
    assert httpx.post(f"{served.url}/predict", content=bytes(200_000), headers=bomb).status_code == 415
    with socket.create_connection(("127.0.0.1", served.ports[3]), timeout=10) as line:
        with contextlib.suppress(OSError):  # it may hang up
            line.sendall(crumbs)
        assert line.recv(12) in (b"HTTP/1.1 411", b"")
    huge = json.dumps({"inputs": [{"name": "IMAGE", "shape": [1, 9_999_999_999_999], "data": ["a"]}]}).encode()
    assert httpx.post(f"{served.url}/predict", content=huge).status_code == 400
    assert httpx.post(f"{served.url}/v2/models/detector/infer", content=huge).status_code == 400
    prefix = b'{"inputs":[{"name":"IMAGE","shape":[1,1],"datatype":"BYTES","parameters":{"binary_data_size":4}}]}'
    lying = {"inference-header-content-length": str(len(prefix))}
    body = prefix + b"\xff\xff\xff\xff"
    assert httpx.post(f"{served.url}/v2/models/detector/infer", content=body, headers=lying).status_code == 400

    assert served.ready()
    assert served.triton == server


def test_image_clients_of_tritons_get_what_triton_says(served: Served) -> None:
    """What NVIDIA's image_client and ensemble_image_client do, at both doors."""
    said = []
    for door in (served.url.removeprefix("http://"), f"127.0.0.1:{served.ports[0]}"):
        with triton_http.InferenceServerClient(door, ssl=False) as client:
            metadata = client.get_model_metadata("detector")
            if not said:  # behind the gateway only the launcher may read it
                config = client.get_model_config("detector")
            (image,) = metadata["inputs"]
            batch = min(config["max_batch_size"], len(SAMPLES))
            photos = np.array([[path.read_bytes()] for path in SAMPLES[:batch]], dtype=object)
            sent = triton_http.InferInput(image["name"], list(photos.shape), image["datatype"])
            sent.set_data_from_numpy(photos, binary_data=True)
            names = [output["name"] for output in metadata["outputs"]]
            plain = [triton_http.InferRequestedOutput(name, binary_data=bool(n % 2)) for n, name in enumerate(names)]
            tensors = client.infer("detector", [sent], outputs=plain, request_id="1")
            classes = [triton_http.InferRequestedOutput(name, class_count=2) for name in ("PROBABILITY", "STATISTICS")]
            words = client.infer("detector", [sent], outputs=classes)
            shown = {
                "metadata": (metadata["name"], metadata["versions"], metadata["platform"], image, metadata["outputs"]),
                "id": tensors.get_response()["id"],
                "version": tensors.get_response()["model_version"],
                "classes": [words.as_numpy(name).tolist() for name in ("PROBABILITY", "STATISTICS")],
            }
            said.append((shown, {name: tensors.as_numpy(name) for name in names}))
            photos[1, 0] = photos[1, 0][:500]
            sent.set_data_from_numpy(photos, binary_data=True)
            with pytest.raises(InferenceServerException, match=r"\[truncated_image\]") as refused:
                client.infer("detector", [sent])
            assert "IMAGE[1]" in str(refused.value)
    (ours, our_tensors), (theirs, their_tensors) = said
    for name, tensor in their_tensors.items():
        assert our_tensors[name] == pytest.approx(tensor, rel=1e-6), name
    ours["metadata"][-1].sort(key=str), theirs["metadata"][-1].sort(key=str)
    assert ours == theirs


class Traffic:
    """Callers who never stop."""

    def __init__(self, url: str, callers: int = 3) -> None:
        self.answers: list[tuple[float, float, int, float | None]] = []
        """Start, duration, status, probability."""
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        wait_for(lambda: len(self.answers) > 20, 30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as http:
            while not self._stop.is_set():
                started = time.monotonic()
                answer = http.post("/predict", content=PHOTO)
                body = answer.json()
                self.answers.append((started, time.monotonic() - started, answer.status_code, body.get("probability")))
                time.sleep(0.01)


@pytest.mark.parametrize("victim", ["preprocess", "classifier", "recorder", "tritonserver"])
def test_what_dies_comes_back_and_nobody_hangs_meanwhile(served: Served, victim: str) -> None:
    truth = httpx.post(f"{served.url}/predict", content=PHOTO).json()["probability"]
    wait_for(lambda: len(stubs(served.triton)) == INSTANCES, 30)  # those of an earlier reload have gone
    target = served.triton
    if victim != "tritonserver":
        target = next(pid for pid, instance in stubs(served.triton).items() if instance.startswith(victim))
    bound = 10 * slowness()
    with Traffic(served.url) as traffic:
        killed = time.monotonic()
        os.kill(target, signal.SIGKILL)
        wait_for(lambda: any(answer[2] == 503 for answer in traffic.answers), 5)
        wait_for(served.ready, bound)
        recovered = time.monotonic() - killed
        time.sleep(0.3)
    refused = [answer for answer in traffic.answers if answer[2] != 200]

    assert recovered < bound
    assert {answer[2] for answer in traffic.answers} == {200, 503}
    assert {answer[3] for answer in traffic.answers if answer[2] == 200} == {truth}, "a wrong answer"
    # Those that were in flight count from the kill on. The median leaves room for a busy machine.
    waits = sorted(start + took - max(start, killed) for start, took, _, _ in refused)
    assert waits[len(waits) // 2] < 0.1
    assert waits[-1] < 1.0
    # Triton keeps the old instances for some seconds; then no shared memory is left behind.
    wait_for(lambda: len(served.regions) == INSTANCES, 30)


def test_slow_callers_do_not_hold_up_others(served: Served) -> None:
    slow = [socket.create_connection(("127.0.0.1", served.ports[3])) for _ in range(500)]
    try:
        for line in slow:
            line.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n\xff\xd8")
        codes = [httpx.post(f"{served.url}/predict", content=PHOTO).status_code for _ in range(10)]
    finally:
        for line in slow:
            line.close()
    assert codes == [200] * 10


def test_sigterm_drains(repository: Path, tmp_path: Path) -> None:
    running = Served(repository, tmp_path, "--drain=5")
    region_files = running.regions
    with Traffic(running.url) as traffic:
        asked = time.monotonic()
        running.process.terminate()
        wait_for(lambda: not running_ready(running), 5)
        time.sleep(0.5)
        traffic._stop.set()  # as a load balancer does that has seen readiness fail
    served_while_draining = [answer for answer in traffic.answers if answer[0] > asked + 0.1]

    assert running.process.wait(40) == 0
    assert served_while_draining
    assert {answer[2] for answer in traffic.answers} == {200}
    assert not any(region.exists() for region in region_files)


def running_ready(running: Served) -> bool:
    return httpx.get(f"{running.url}/readyz").status_code == 200


def test_locust_of_the_usual_kind_works_unchanged(served: Served, tmp_path: Path) -> None:
    if importlib.util.find_spec("locust") is None:  # importing it would patch the sockets of this process
        pytest.skip("locust is not installed; run: make test")
    report = tmp_path / "report"
    load = ["--headless", "--users=2", "--spawn-rate=2", "--run-time=4s", f"--host={served.url}"]
    files = [f"--locustfile={ROOT / 'benchmarks' / 'locustfile.py'}", f"--json-file={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "locust", *load, *files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    entries = json.loads(report.with_suffix(".json").read_text())
    assert {entry["name"] for entry in entries} >= {"/predict", "/health", "/metrics"}
    assert all(entry["num_failures"] == 0 for entry in entries)
