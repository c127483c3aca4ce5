"""The same detector in front of the gateway: a real gateway on a socket, the fake transport behind it."""

from __future__ import annotations

import asyncio
import io
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path

import httpx
import numpy as np
import pytest
from gateway_beside import gateway
from photo_corpus import picture, write_broken
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from veriphoto.contract import OPINIONS, SUFFIXES
from veriphoto.errors import (
    DeadlineExceededError,
    ImageError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    ServiceUnavailableError,
    UsageError,
    VeriphotoError,
)
from veriphoto_client import AsyncDetector, Detection, Detector, FakeTransport
from veriphoto_client.metadata import provenance
from veriphoto_client.sdk.retry import retry_after
from veriphoto_client.triton.transport import Outputs

KEY = "0123456789abcdef"
ID = KEY * 2
ROOT = Path(__file__).parents[3]


class Triton(FakeTransport):
    """Knows how often real product photos score as high, and fails where a test says so."""

    fault: VeriphotoError | None = None

    async def score(self, data: bytes, request_id: str = "") -> Outputs:
        if self.fault is not None:
            raise self.fault
        opinions = np.array([[1.0, -0.5, 0.5, 0.75, 0.0125]], np.float32)
        return {**await super().score(data, request_id), OPINIONS: opinions}


@pytest.fixture(scope="module")
def url():
    with gateway(Triton()) as url:
        yield url


def test_both_doors_say_the_same(url):
    photos = [picture(seed, form) for seed, form in enumerate(["JPEG", "PNG", "WEBP"] * 4)]
    with Detector(url) as ours, Detector(transport=Triton()) as theirs:
        for here, there in zip(ours.predict_batch(photos), theirs.predict_batch(photos), strict=True):
            assert isinstance(here, Detection)
            assert isinstance(there, Detection)
            only_here = {"request_id", "provenance"}
            named = [field.name for field in fields(Detection) if field.name not in {"evidence", *only_here}]
            assert {name: getattr(here, name) for name in named} == {name: getattr(there, name) for name in named}
            assert {**here.to_json(), **dict.fromkeys(only_here)} == {**there.to_json(), **dict.fromkeys(only_here)}
            assert here.evidence.size == 0, "only /predict/explain has it"
        assert ours.health().threshold == theirs.health().threshold


def test_an_answer_has_the_id_under_which_the_log_has_it():
    triton = Triton()
    with gateway(triton) as url, Detector(url) as detector:
        assert detector.predict(picture(), request_id=ID).request_id == ID
        made = [detector.predict(picture(), request_id=given).request_id for given in ("", "seller é.jpg\n", "a#1")]
        made += [answer.request_id for answer in detector.predict_batch([picture(), picture()])]
    assert len({*made, ID}) == 6, "the gateway makes one where none may be stored"
    assert triton.request_ids[-6:-2] == [ID, *made[:3]]


def test_an_answer_has_what_the_metadata_claim(url):
    plain, made = picture(1, "PNG"), io.BytesIO()
    claims = PngInfo()
    claims.add_text("parameters", "a mug, studio light\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1")
    with Image.open(io.BytesIO(plain)) as image:
        image.save(made, "PNG", pnginfo=claims)
    with Detector(url) as detector:
        without, claimed = (detector.predict(data).provenance for data in (plain, made.getvalue()))
    assert without == provenance.inspect(plain)
    assert claimed == provenance.inspect(made.getvalue())
    assert claimed is not None
    assert claimed.generation_parameters["status"] == "present"
    with pytest.raises(TypeError):
        claimed.camera["status"] = "present"  # type: ignore[index]  read-only


async def test_feedback_finds_its_answer(tmp_path):
    settings = {"api_keys": f"shop={KEY},app={KEY[::-1]}", "feedback_keys": "shop"}
    with gateway(Triton(), review_database=f"sqlite:///{tmp_path / 'review.db'}", **settings) as url:
        async with AsyncDetector(url, api_key=KEY) as detector:
            answer = await detector.predict(picture())
            assert await detector.feedback(answer.request_id, "real", note="the seller sent the raw file") == "waiting"
        with Detector(url, api_key=KEY) as detector:
            assert detector.feedback(answer.request_id, "real") == "waiting"
            for request_id, truth in ((answer.request_id, "fake"), ("", "real")):
                with pytest.raises(InvalidRequestError, match=r"truth|request_id"):
                    detector.feedback(request_id, truth)
        with Detector(url, api_key=KEY[::-1]) as detector, pytest.raises(InvalidRequestError, match="feedback-keys"):
            detector.feedback(answer.request_id, "real")


def test_the_documents_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    with gateway(Triton(), review_database=f"sqlite:///{tmp_path / 'review.db'}") as url:
        for example in examples:
            exec(example.replace("http://127.0.0.1:8080", url), {})  # noqa: S102
    said = capsys.readouterr().out
    assert len(examples) == 2
    assert "README.md cannot be judged" in said
    assert said.endswith("waiting\n")


def test_who_takes_no_feedback_says_so(url, server):
    with Detector(url) as detector, pytest.raises(InvalidRequestError, match="--review-database"):
        detector.feedback(ID, "real")
    for options in ({"url": server.url}, {"url": "grpc://127.0.0.1:9"}, {"transport": FakeTransport()}):
        with Detector(**options) as detector, pytest.raises(UsageError, match="gateway's address"):
            detector.feedback(ID, "real")


def test_feedback_to_what_is_no_gateway_is_a_service_error(server):
    server.answer = lambda body: (200, b'{"status": "thanks"}')
    with Detector(server.url, service="gateway") as detector, pytest.raises(ServiceError, match="not Veriphoto's"):
        detector.feedback(ID, "real")


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"verdict": 1e999}', b"[1]", b"\xff\xfe\0"], ids=repr)
def test_whatever_answers_there_is_a_service_error_at_worst(server, status, body):
    server.answer = lambda _: (status, body)
    with Detector(server.url, service="gateway", patience=0) as detector:
        for ask in (lambda: detector.predict(picture()), detector.health, lambda: detector.feedback(ID, "real")):
            with pytest.raises(ServiceError):
                ask()


def test_an_infinite_version_is_a_service_error(server):
    with gateway(Triton()) as url:
        whole = httpx.post(f"{url}/predict", content=picture()).text
    server.answer = lambda _: (200, re.sub(r'"model_version": *\d+', '"model_version":1e999', whole).encode())
    with Detector(server.url, service="gateway") as detector, pytest.raises(ServiceError, match="not Veriphoto's"):
        detector.predict(picture())


def test_an_answer_that_cannot_be_unpacked_leaves_no_complaint_of_the_loop():
    code = (
        "import sys\nfrom veriphoto_client import Detector\nfrom veriphoto.errors import ServiceUnavailableError\n"
        "for _ in range(5):\n  with Detector(sys.argv[1], service='gateway', patience=0) as detector:\n"
        "    try: detector.health()\n    except ServiceUnavailableError: print('away')\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as door:

        def packed() -> None:
            for _ in range(5):
                caller, _ = door.accept()
                caller.recv(65536)
                caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nnotgzip")
                caller.close()

        thread = threading.Thread(target=packed, daemon=True)
        thread.start()
        command = [sys.executable, "-c", code, f"http://127.0.0.1:{door.getsockname()[1]}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        thread.join(10)
    assert (done.stdout, done.stderr) == ("away\n" * 5, "")


def test_health_is_no_traffic():
    triton = Triton()
    with (
        gateway(triton, rate_limit=1, rate_burst=1, canary_interval=60.0) as url,
        Detector(url, patience=0) as detector,
    ):
        asked = triton.requests
        for _ in range(5):
            assert detector.health().latency_ms > 0
        assert triton.requests == asked, "the gateway tells of its own probe"
        counted = httpx.get(f"{url}/metrics").text
        assert "veriphoto_gateway_images_total{" not in counted
        assert "veriphoto_gateway_verdicts_total{" not in counted
        assert detector.predict(picture()).verdict.model_version == 1, "the rate is unspent"


def test_health_of_a_gateway_whose_triton_is_away():
    triton = Triton()
    with gateway(triton, canary_interval=0.05) as url, Detector(url) as detector:
        detector.health()
        triton.fault = ServiceUnavailableError("gone")
        deadline = time.monotonic() + 20
        while httpx.get(f"{url}/readyz").status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(ServiceUnavailableError, match="down"):
            detector.health()


def test_each_kind_of_bad_picture_has_the_same_error_at_both_doors(url, tmp_path):
    with Detector(url) as ours, Detector(transport=Triton()) as theirs:
        for kind in range(10):
            path = write_broken(tmp_path / f"{kind}.jpg", kind)
            (here,), (there,) = ours.predict_batch([path]), theirs.predict_batch([path])
            assert isinstance(here, ImageError)
            assert (type(here), here.message) == (type(there), there.message)


async def test_the_asynchronous_detector_and_many_at_a_time(url):
    async with AsyncDetector(url, max_in_flight=4) as detector:
        answers = await detector.predict_batch([picture(seed) if seed % 5 else b"" for seed in range(40)])
    assert [isinstance(answer, Detection) for answer in answers] == [bool(seed % 5) for seed in range(40)]


def test_a_file_of_almost_20_mb_travels(url):
    with Detector(url) as detector:
        assert detector.predict(picture() + bytes(19_900_000)).verdict.model_version == 1


@pytest.mark.parametrize("prefix", ["", "/v1", "/v1/"])
def test_a_path_before_the_routes(url, prefix):
    with Detector(url + prefix) as detector:
        assert detector.predict(picture()).verdict.model_version == 1


def test_a_key_is_needed_where_keys_are_set(monkeypatch):
    with gateway(Triton(), api_keys=f"shop={KEY}") as url:
        for wrong in (None, "f" * 16):
            with Detector(url, api_key=wrong) as detector:
                with pytest.raises(InvalidRequestError, match="VERIPHOTO_API_KEY"):
                    detector.predict(picture())
                with pytest.raises(InvalidRequestError):
                    detector.health()
        with Detector(url, api_key=KEY) as detector:
            assert detector.predict(picture()).verdict.model_version == 1
        monkeypatch.setenv("VERIPHOTO_API_KEY", KEY)
        monkeypatch.setenv("VERIPHOTO_URL", url)
        with Detector() as detector:
            assert detector.url == url
            assert detector.predict(picture()).verdict.model_version == 1


@pytest.mark.parametrize(
    "fault",
    [OverloadedError("full"), ServiceError("nonsense"), ServiceUnavailableError("gone"), DeadlineExceededError("")],
)
def test_what_the_service_suffers_from_has_the_same_class(fault):
    triton = Triton()
    with gateway(triton) as url, Detector(url, patience=0) as detector:
        assert detector.predict(picture()).verdict.model_version == 1
        triton.fault = fault
        with pytest.raises(ServiceError) as caught:
            detector.predict(picture())
    assert type(caught.value) is type(fault)


def test_retry_after_is_honoured():
    with gateway(Triton(), rate_limit=40.0, rate_burst=1) as url:
        with Detector(url, patience=0) as hasty:
            hasty.predict(picture())
            with pytest.raises(OverloadedError) as caught:
                hasty.predict(picture())
        assert (retry_after(caught.value) or 0) >= 1
        with Detector(url) as patient:
            started = time.monotonic()
            assert patient.predict(picture()).verdict.model_version == 1
            assert time.monotonic() - started >= 1


def test_a_bad_moment_is_waited_out_and_no_longer_than_patience_says():
    triton = Triton()

    async def ask(url: str) -> float:
        async with AsyncDetector(url, patience=0.5) as detector:
            await detector.predict(picture())
            triton.fault = OverloadedError("full")
            asyncio.get_running_loop().call_later(2.5, setattr, triton, "fault", None)
            started = time.monotonic()
            with pytest.raises(OverloadedError):
                await detector.predict(picture())
            gave_up = time.monotonic() - started
        async with AsyncDetector(url) as detector:
            await detector.predict(picture())
        return gave_up

    with gateway(triton) as url:
        assert asyncio.run(ask(url)) < 1.5


def test_which_door_it_is_is_asked_once_and_not_of_a_server_that_is_away(server):
    with Detector("http://127.0.0.1:9") as nobody:
        for _ in range(2):
            with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:9"):
                nobody.predict(picture())
    with Detector(server.url) as detector:  # answers as Triton does
        answers = detector.predict_batch([picture()] * 5)
        assert all(isinstance(answer, Detection) for answer in answers)
    assert len(server.requests) == 5


def test_a_door_can_be_named(url, server):
    with Detector(url, service="gateway") as detector:
        assert detector.predict(picture()).verdict.model_version == 1
    with Detector(server.url, service="triton") as detector:
        assert detector.predict(picture()).statistics["width"] > 0
    with Detector(url, service="triton") as detector:  # the gateway speaks Triton's protocol too
        assert detector.predict(picture()).evidence.size > 0
    with Detector(server.url, service="gateway") as detector, pytest.raises(ServiceError):
        detector.predict(picture())
    for address, service in (
        ("grpc://h:1", "gateway"),
        ("https://h", "triton"),
        ("http://h/v1", "triton"),
        ("http://h", "x"),
    ):
        with pytest.raises(UsageError, match=r"service|address"):
            Detector(address, service=service)


def test_a_request_ends_with_its_time():
    with (
        gateway(Triton()) as url,
        Detector(url, timeout=0.001, patience=0) as detector,
        pytest.raises(DeadlineExceededError, match=r"0\.001 s"),
    ):
        detector.predict(picture())


@pytest.mark.parametrize("broken", [b"[]", b"{}", b'"x"', b'{"verdict": "maybe"}', b"<html>"])
def test_an_answer_that_is_not_the_gateways_is_a_service_error(server, broken):
    server.answer = lambda body: (200, broken)
    with Detector(server.url, service="gateway", patience=0) as detector, pytest.raises(ServiceError, match="gateway"):
        detector.predict(picture())


def test_the_samples_over_a_socket(url):
    samples = [path for path in (ROOT / "samples").iterdir() if path.suffix in SUFFIXES]
    with Detector(url) as detector:
        assert all(isinstance(answer, Detection) for answer in detector.predict_batch(samples))
