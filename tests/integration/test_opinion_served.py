"""The second opinion on real servers: its modes, an encoder that Triton serves, and a version that has none."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from toy_encoder import toy_opinion, write_toy_encoder
from toy_model import SAMPLES, copy_repository, publish_toy

from veriphoto.contract import CLASSIFIER, ENCODER, SECOND_OPINION
from veriphoto.preprocessing import preprocess
from veriphoto.second_opinion import Mode
from veriphoto_client import Detection, Detector
from veriphoto_client.triton.admin import TritonAdmin
from veriphoto_serving.triton.launcher import TritonServer
from veriphoto_serving.triton.options import ADMIN_HEADER

StartTriton = Callable[..., TritonServer]

SERVED_ENCODER = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            crops = pb_utils.get_input_tensor_by_name(request, "CROPS").as_numpy()
            mean = crops.reshape(len(crops), -1).mean(axis=1, dtype=np.float64)
            features = np.stack([mean, np.ones(len(crops))], axis=1).astype(np.float32)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("FEATURES", features)]))
        return answers
"""
"""The toy encoder as a model of Triton's own: the wheel's server has no backend for ONNX."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository = copy_repository(tmp_path / "models")
    version = publish_toy(repository, 1)
    write_toy_encoder(repository)
    toy_opinion(ask_above=-100.0).write(version)
    return repository


def expected(path: Path) -> float:
    """The toy opinion's logit of a photo."""
    return 12.75 - 0.1 * float(preprocess(path.read_bytes()).crops[0].mean(dtype=np.float64))


def answers(server: TritonServer) -> list[Detection]:
    with Detector(f"http://{server.http_url}") as detector:
        return [detector.predict(path) for path in SAMPLES]


def load(server: TritonServer, model: str) -> int:
    headers = {ADMIN_HEADER: server.options.admin_key, "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(server.http_url, timeout=60)) as connection:
        connection.request("POST", f"/v2/repository/models/{model}/load", "{}", headers)
        return connection.getresponse().status


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.ALWAYS])
def test_the_joint_score_comes_out(start_triton: StartTriton, repository: Path, mode: Mode) -> None:
    found = answers(start_triton(repository, second_opinion=mode))
    for path, detection in zip(SAMPLES, found, strict=True):
        assert detection.second_opinion.asked
        assert detection.logit == pytest.approx(expected(path), abs=0.02)
        assert detection.second_opinion.first_logit != detection.logit
        assert detection.verdict.threshold == 0.75
        assert detection.real_share is not None


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.AUTO])
def test_where_nobody_is_asked_the_classifier_stands_alone(
    start_triton: StartTriton, repository: Path, mode: Mode
) -> None:
    """No process runs for the step that would ask; versions are swapped and answers recorded as ever."""
    if mode is Mode.AUTO:
        shutil.rmtree(repository / ENCODER / "1")
    server = start_triton(repository, second_opinion=mode)
    assert not TritonAdmin(address=server.http_url, key=server.admin_key).ready(SECOND_OPINION)
    publish_toy(repository, 2)
    assert load(server, CLASSIFIER) == http.client.OK
    for detection in answers(server):
        assert detection.verdict.model_version == 2
        assert not detection.second_opinion.asked
        assert detection.logit == detection.second_opinion.first_logit
        assert detection.second_opinion.first_threshold == detection.verdict.threshold
        assert detection.real_share is None


def test_triton_serves_the_encoder_where_it_can(start_triton: StartTriton, repository: Path) -> None:
    """As in NVIDIA's container: the step asks the model ``encoder``, and a swap of the classifier swaps the opinion."""
    (repository / "second_opinion" / "configs" / "embedded.pbtxt").unlink()  # then Triton takes config.pbtxt
    config = (repository / ENCODER / "config.pbtxt").read_text()
    config = config.replace('backend: "onnxruntime"', 'backend: "python"').replace('"model.onnx"', '"model.py"')
    (repository / ENCODER / "config.pbtxt").write_text(config.replace("KIND_AUTO", "KIND_CPU"))
    (repository / ENCODER / "1" / "model.py").write_text(SERVED_ENCODER)
    server = start_triton(repository)
    assert load(server, ENCODER) == http.client.OK
    for path, detection in zip(SAMPLES, answers(server), strict=True):
        assert detection.second_opinion.asked
        assert detection.logit == pytest.approx(expected(path), abs=1e-3)
    publish_toy(repository, 2)
    assert load(server, CLASSIFIER) == http.client.OK
    assert {detection.verdict.model_version for detection in answers(server)} == {2}
    assert not any(detection.second_opinion.asked for detection in answers(server)), "version 2 has no second opinion"


def test_always_does_not_start_without_an_encoder(start_triton: StartTriton, repository: Path) -> None:
    shutil.rmtree(repository / ENCODER / "1")
    with pytest.raises(Exception, match="make encoder"):
        start_triton(repository, second_opinion=Mode.ALWAYS)
