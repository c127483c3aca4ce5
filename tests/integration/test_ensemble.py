"""The ensemble in a real tritonserver, over HTTP and gRPC: raw bodies, batches, good and bad pictures at once."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pillow_heif
import pytest
import tritonclient.grpc
import tritonclient.http
from benchmarks.odd_files import encoded
from PIL import Image
from toy_model import REPOSITORY, SAMPLES
from tritonclient.utils import InferenceServerException

from veriphoto.contract import (
    CONTRACT,
    CROPS,
    ENSEMBLE,
    EVIDENCE,
    IMAGE,
    LOGIT,
    MAX_BATCH_SIZE,
    OPERATING_POINT,
    OPINION_VALUES,
    OPINIONS,
    PROBABILITY,
    STATISTICS,
)
from veriphoto.errors import ImageError, NotAnImageError, TruncatedImageError, from_wire
from veriphoto.manifest import latest_version, read_manifest
from veriphoto.opinions import EncoderPackage, fitting, open_opinions
from veriphoto.preprocessing import preprocess
from veriphoto.second_opinion import Mode
from veriphoto_serving.triton.launcher import TritonServer

pillow_heif.register_heif_opener()
FILES = [path.read_bytes() for path in SAMPLES]
JUNK = b"not a picture at all"
OUTPUTS = (PROBABILITY, LOGIT, EVIDENCE, STATISTICS, OPERATING_POINT, OPINIONS)


@dataclass
class Door:
    """One protocol's client library and a client of it."""

    library: Any
    client: Any

    def score(self, *files: bytes) -> dict[str, np.ndarray]:
        tensor = self.library.InferInput(IMAGE, [len(files), 1], "BYTES")
        tensor.set_data_from_numpy(np.array(files, dtype=object).reshape(-1, 1))
        answer = self.client.infer(ENSEMBLE, [tensor])
        return {name: answer.as_numpy(name) for name in OUTPUTS}


@pytest.fixture(params=["http", "grpc"])
def door(request: pytest.FixtureRequest, triton: TritonServer):
    library = {"http": tritonclient.http, "grpc": tritonclient.grpc}[request.param]
    url = {"http": triton.http_url, "grpc": triton.grpc_url}[request.param]
    with library.InferenceServerClient(url) as client:
        yield Door(library, client)


@pytest.fixture(scope="module")
def offline() -> dict[str, np.ndarray]:
    """The samples, scored by core and onnxruntime alone."""
    version = latest_version(REPOSITORY / "classifier")
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    prepared = [preprocess(data) for data in FILES]
    names = (PROBABILITY, LOGIT, EVIDENCE, OPERATING_POINT)
    opinions = open_opinions(REPOSITORY, Mode.AUTO)
    joined = [
        opinions.joined(each.crops, dict(zip(names, session.run(names, {CROPS: each.crops[np.newaxis]}), strict=True)))
        for each in prepared
    ]
    scores = {name: np.concatenate([each[name] for each in joined]) for name in (*names, OPINIONS)}
    return scores | {STATISTICS: np.stack([each.statistics for each in prepared])}


def test_the_samples_score_as_offline(door: Door, offline: dict[str, np.ndarray]) -> None:
    for index, data in enumerate(FILES):
        for name, found in door.score(data).items():
            np.testing.assert_allclose(found, offline[name][index : index + 1], atol=1e-4, err_msg=name)


def test_a_batch_scores_as_its_pictures(door: Door, offline: dict[str, np.ndarray]) -> None:
    files = (FILES * 2)[:MAX_BATCH_SIZE]
    found = door.score(*files)
    for name in OUTPUTS:
        expected = np.concatenate([offline[name]] * 2)[:MAX_BATCH_SIZE]
        np.testing.assert_allclose(found[name], expected, atol=1e-4, err_msg=name)


def test_an_answer_explains_itself(door: Door) -> None:
    """The map adds up to the classifier's logit, the logit gives the probability, the version names its threshold."""
    version = latest_version(REPOSITORY / "classifier")
    manifest = read_manifest(version)
    answer = door.score(FILES[0])
    logit = float(answer[LOGIT][0, 0])
    opinions = dict(zip(OPINION_VALUES, answer[OPINIONS][0].tolist(), strict=True))
    assert answer[EVIDENCE].shape == (1, CONTRACT.crops, CONTRACT.grid, CONTRACT.grid)
    assert answer[EVIDENCE].mean() + manifest.evidence_bias == pytest.approx(opinions["first_logit"], abs=1e-4)
    assert float(answer[PROBABILITY][0, 0]) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
    first = manifest.findings.operating_point
    assert opinions["first_threshold"] == pytest.approx(first.threshold)
    encoder = EncoderPackage.read(REPOSITORY / "encoder" / "1", Mode.AUTO)
    opinion = fitting(version, encoder.encoder, manifest.model_version) if encoder else None
    expected = (opinion.operating_point if opinion else first).to_tensor()
    np.testing.assert_array_equal(answer[OPERATING_POINT][0], np.float32(expected))


def refused(door: Door, *files: bytes) -> tuple[str, ImageError]:
    with pytest.raises(InferenceServerException) as caught:
        door.score(*files)
    assert str(caught.value.status()) in {"400", "StatusCode.INVALID_ARGUMENT"}
    text = caught.value.message()
    assert "Traceback" not in text
    assert ".py" not in text
    error = from_wire(text)
    assert error is not None
    return text, error


@pytest.mark.parametrize(
    ("data", "kind"), [(JUNK, NotAnImageError), (b"", NotAnImageError), (FILES[0][:2000], TruncatedImageError)]
)
def test_a_bad_picture_is_the_callers_error(data: bytes, kind: type[ImageError], door: Door) -> None:
    assert isinstance(refused(door, data)[1], kind)


def test_a_batch_with_a_bad_picture_fails_and_names_it(door: Door) -> None:
    text, error = refused(door, FILES[0], JUNK, FILES[1])
    assert f"{IMAGE}[1]: [{NotAnImageError.code}] " in text
    assert isinstance(error, NotAnImageError)


def test_too_large_a_batch_is_refused(door: Door) -> None:
    with pytest.raises(InferenceServerException, match="batch-size"):
        door.score(*[FILES[0]] * (MAX_BATCH_SIZE + 1))


def test_good_ones_are_scored_among_bad_ones(triton: TritonServer, offline: dict[str, np.ndarray]) -> None:
    """Requests in flight together share dynamic batches; every bad one fails alone and every good one has its score."""
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        door = Door(tritonclient.grpc, client)
        requests = [(index % len(FILES), index % 3 == 1) for index in range(36)]

        def score(request: tuple[int, bool]) -> float | str:
            index, bad = request
            try:
                return float(door.score(JUNK if bad else FILES[index])[PROBABILITY][0, 0])
            except InferenceServerException as error:
                return error.message() or ""

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(score, requests))
    for (index, bad), answer in zip(requests, answers, strict=True):
        if bad:
            assert isinstance(answer, str)
            assert isinstance(from_wire(answer), NotAnImageError)
        else:
            assert answer == pytest.approx(float(offline[PROBABILITY][index, 0]), abs=1e-4)


def curl(triton: TritonServer, file: Path, *options: str) -> tuple[int, bytes]:
    """Posts a file as the README shows."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    url = f"http://{triton.http_url}/v2/models/{ENSEMBLE}/infer"
    headers = ("-H", "Inference-Header-Content-Length: 0", "-H", "Content-Type: application/octet-stream")
    command = [program, "-s", "-w", "%{http_code}", *headers, "--data-binary", f"@{file}", *options, url]
    body = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    return int(body[-3:]), body[:-3]


def test_curl_posts_a_file(triton: TritonServer, offline: dict[str, np.ndarray]) -> None:
    status, body = curl(triton, SAMPLES[0])
    assert status == 200
    header, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    tensors, at = {}, len(body) - sum(each["parameters"]["binary_data_size"] for each in header["outputs"])
    for each in header["outputs"]:
        size = each["parameters"]["binary_data_size"]
        tensors[each["name"]] = np.frombuffer(body[at : at + size], np.float32).reshape(each["shape"])
        at += size
    assert set(tensors) == set(OUTPUTS)
    np.testing.assert_allclose(tensors[PROBABILITY], offline[PROBABILITY][:1], atol=1e-4)


def test_curl_is_told_what_is_wrong_with_a_file(triton: TritonServer, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(FILES[0][:1000])
    status, body = curl(triton, bad)
    assert status == 400
    assert isinstance(from_wire(json.loads(body)["error"]), TruncatedImageError)
    assert b"Traceback" not in body
    assert b"bad.jpg" not in body


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_phone_photos_are_scored(door: Door, kind: str) -> None:
    """HEIC and AVIF are decoded in a child of the stub."""
    with Image.open(io.BytesIO(FILES[0])) as photo:
        data = encoded(photo.convert("RGB"), kind, quality=90)
    for _ in range(4):
        np.testing.assert_array_equal(door.score(data)[STATISTICS][0], preprocess(data).statistics)
