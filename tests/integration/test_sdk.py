"""The SDK against a real tritonserver: HTTP and gRPC, waiting and asynchronous, every kind of input."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gateway_beside import gateway
from photo_corpus import picture, write_broken
from PIL import Image

from veriphoto.contract import CONTRACT, SUFFIXES
from veriphoto.errors import (
    DeadlineExceededError,
    ImageError,
    NotAnImageError,
    ServiceUnavailableError,
    TooManyPixelsError,
    TruncatedImageError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from veriphoto.preprocessing import preprocess
from veriphoto_client import AsyncDetector, Detection, Detector
from veriphoto_serving.triton.launcher import TritonServer

SAMPLES = sorted(path for path in (Path(__file__).parents[2] / "samples").iterdir() if path.suffix in SUFFIXES)


def flat_png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def healthy_within(detector: Detector, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(ServiceUnavailableError):
            return detector.health().model_version >= 1
        time.sleep(0.1)
    return False


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, triton: TritonServer) -> str:
    address = triton.http_url if request.param == "http" else triton.grpc_url
    return f"{request.param}://{address}"


@pytest.fixture
def detector(url):
    with Detector(url) as detector:
        yield detector


def test_a_detection_is_complete(detector):
    detection = detector.predict(SAMPLES[0])
    assert detection.verdict.verdict in ("real", "ai_generated", "unsure")
    assert detection.verdict.probability == pytest.approx(1 / (1 + np.exp(-detection.logit)), abs=1e-5)
    assert detection.verdict.model_version >= 1
    assert detection.evidence.shape == (CONTRACT.crops, CONTRACT.grid, CONTRACT.grid)
    measured = preprocess(SAMPLES[0].read_bytes()).statistics
    assert list(detection.statistics.values()) == pytest.approx(measured.tolist())


def test_every_kind_of_input_gives_the_same_score(detector):
    path = next(path for path in SAMPLES if path.suffix == ".png")
    with Image.open(path) as image:
        pixels = image.convert("RGB")
    given = (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), pixels)
    logits = [detector.predict(image).logit for image in given]
    assert logits == pytest.approx([logits[0]] * len(given), abs=1e-4)


def test_both_protocols_and_both_detectors_agree(triton):
    async def ask(url: str) -> list[Detection]:
        async with AsyncDetector(url) as detector:
            return await detector.predict_batch(SAMPLES)

    answers = []
    for url in (f"http://{triton.http_url}", f"grpc://{triton.grpc_url}"):
        answers.append(asyncio.run(ask(url)))
        with Detector(url) as detector:
            answers.append(detector.predict_batch(SAMPLES))
    logits = np.array([[detection.logit for detection in answer] for answer in answers])
    assert logits.shape == (4, len(SAMPLES))
    assert np.abs(logits - logits[0]).max() < 1e-4


def test_the_gateway_says_what_triton_says(triton):
    with (
        gateway(triton_url=f"grpc://{triton.grpc_url}") as url,
        Detector(url) as ours,
        Detector(f"grpc://{triton.grpc_url}") as theirs,
    ):
        for here, there in zip(ours.predict_batch(SAMPLES), theirs.predict_batch(SAMPLES), strict=True):
            assert here.verdict.probability == pytest.approx(there.verdict.probability, abs=1e-6)
            assert here.verdict.verdict == there.verdict.verdict
            assert here.verdict.model_version == there.verdict.model_version
            assert here.real_share == pytest.approx(there.real_share)
        assert ours.health().model_version == theirs.health().model_version


def test_a_batch_loses_only_its_bad_pictures(detector, tmp_path):
    bad = [write_broken(tmp_path / f"{kind}.jpg", kind) for kind in range(10)]
    images = [image for pair in zip([picture(seed) for seed in range(10)], bad, strict=True) for image in pair]
    results = detector.predict_batch(images)
    assert [isinstance(result, Detection) for result in results] == [True, False] * 10
    assert all(isinstance(result, ImageError) for result in results[1::2])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAnImageError),
        (b"no picture", NotAnImageError),
        (b"GIF89a" + bytes(40), UnsupportedFormatError),
        (picture(size=(640, 480))[:-300], TruncatedImageError),
        (flat_png(8000, 6000), TooManyPixelsError),
    ],
    ids=["empty", "text", "gif", "torn", "huge"],
)
def test_bad_pictures_raise_their_own_error(detector, data, error):
    with pytest.raises(error) as caught:
        detector.predict(data)
    assert "detector" not in caught.value.message
    assert caught.value.__cause__ is not None


def test_a_file_of_almost_20_mb_travels(detector):
    # Bytes after the end of a JPEG are no part of it: large on the wire, small to decode.
    assert detector.predict(picture() + bytes(19_900_000)).statistics["bytes"] > 19_900_000


def test_a_missing_file_is_named(detector):
    with pytest.raises(UnreadableFileError, match=r"gone\.jpg"):
        detector.predict("gone.jpg")


def test_health_names_the_model_version(detector, url):
    health = detector.health()
    assert health.url == url
    assert health.model_version == detector.predict(SAMPLES[0]).verdict.model_version


def test_an_impatient_client_gives_up(url):
    with Detector(url, timeout=0.001) as detector, pytest.raises(DeadlineExceededError) as caught:
        detector.predict(SAMPLES[0])
    assert caught.value.__cause__ is not None


def test_threads_share_one_detector(detector):
    with ThreadPoolExecutor(8) as pool:
        logits = list(pool.map(lambda path: detector.predict(path).logit, SAMPLES))
    assert logits == pytest.approx([detector.predict(path).logit for path in SAMPLES], abs=1e-4)


def test_two_event_loops_beside_each_other(url):
    async def ask() -> bool:
        async with AsyncDetector(url) as detector:
            return all(isinstance(result, Detection) for result in await detector.predict_batch(SAMPLES[:4]))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(lambda _: asyncio.run(ask()), range(3)))


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_without_the_detector_is_unavailable(start_triton, scheme):
    server = start_triton()
    address = server.http_url if scheme == "http" else server.grpc_url
    with Detector(f"{scheme}://{address}") as detector, pytest.raises(ServiceUnavailableError, match="detector"):
        detector.health()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_goes_and_comes_back_is_found_again(start_triton, scheme):
    root = Path(__file__).parents[2]
    server = start_triton(root / "model_repository")
    address = server.http_url if scheme == "http" else server.grpc_url
    with Detector(f"{scheme}://{address}") as detector:
        assert detector.health().model_version >= 1
        server.stop()
        with pytest.raises(ServiceUnavailableError):
            detector.health()
        http_port, grpc_port = (int(url.rpartition(":")[2]) for url in (server.http_url, server.grpc_url))
        start_triton(root / "model_repository", http_port=http_port, grpc_port=grpc_port)
        assert healthy_within(detector, seconds=10)  # gRPC pauses up to two seconds before it tries to connect again
