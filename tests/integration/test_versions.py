"""Versions in a real tritonserver: swapped under load, and refused where they are not what they say."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc
from toy_model import SAMPLES, copy_repository, publish_toy

from veriphoto.contract import CLASSIFIER, CROPS, ENSEMBLE, IMAGE, LOGIT, OPERATING_POINT
from veriphoto.errors import StartupError
from veriphoto.preprocessing import preprocess
from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import ADMIN_HEADER

PICTURE = SAMPLES[0].read_bytes()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return copy_repository(tmp_path / "model repository")


def offline(version: Path) -> float:
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    [logit] = session.run([LOGIT], {CROPS: preprocess(PICTURE).crops[np.newaxis]})
    return float(logit[0, 0])


def score(server: TritonServer) -> tuple[int, float]:
    """Returns the version that answered and its logit."""
    tensor = tritonclient.grpc.InferInput(IMAGE, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[PICTURE]], dtype=object))
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        answer = client.infer(ENSEMBLE, [tensor])
    return int(answer.as_numpy(OPERATING_POINT)[0, 0]), float(answer.as_numpy(LOGIT)[0, 0])


def load_classifier(server: TritonServer) -> int:
    connection = http.client.HTTPConnection(server.http_url, timeout=60)
    try:
        path = f"/v2/repository/models/{CLASSIFIER}/load"
        connection.request("POST", path, "{}", {ADMIN_HEADER: server.admin_key, "Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_new_version_takes_over_under_load(repository: Path, start_triton: Callable[..., TritonServer]) -> None:
    """Every answer names the version that made it and has that version's score."""
    logits = {1: offline(publish_toy(repository, 1))}
    server = start_triton(repository)
    answers, stop = [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(score(server))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        logits[2] = offline(publish_toy(repository, 2))
        assert load_classifier(server) == 200
        last = score(server)
    finally:
        stop.set()
        asking.join()
    assert last[0] == 2
    assert {version for version, _ in answers} >= {1}
    for version, logit in [*answers, last]:
        assert logit == pytest.approx(logits[version], abs=1e-4)
    assert abs(logits[1] - logits[2]) > 1e-2


def test_a_version_that_is_not_its_manifests_is_not_loaded(
    repository: Path, start_triton: Callable[..., TritonServer]
) -> None:
    """The version before goes on serving."""
    publish_toy(repository, 1)
    server = start_triton(repository)
    with (publish_toy(repository, 2) / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert load_classifier(server) == 400
    assert score(server)[0] == 1


def test_a_server_does_not_start_on_a_changed_graph(
    repository: Path, start_triton: Callable[..., TritonServer]
) -> None:
    with (publish_toy(repository, 1) / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(StartupError, match="checksum_mismatch"):
        start_triton(repository)
