from __future__ import annotations

import asyncio
import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

from veriphoto.contract import EVIDENCE
from veriphoto.errors import ServiceUnavailableError
from veriphoto_client import FakeTransport
from veriphoto_client.triton.transport import Outputs
from veriphoto_serving.gateway.middleware.admission import PATIENCE_S
from veriphoto_serving.gateway.models import BatchAnswer, ExplainAnswer, PredictAnswer

from .conftest import Gateway, Open, picture


async def test_form_and_body_give_the_same_answer(gateway: Gateway, photo: bytes) -> None:
    by_form = await gateway.http.post("/predict", files={"file": ("a photo.jpg", photo, "image/jpeg")})
    by_body = await gateway.http.post("/v1/predict", content=photo, headers={"content-type": "image/jpeg"})

    assert by_form.status_code == by_body.status_code == 200
    one, other = (PredictAnswer.model_validate(answer.json()) for answer in (by_form, by_body))
    assert (one.verdict, one.prediction, one.confidence) == ("ai_generated", "ai_generated", "medium")
    assert one.probability == other.probability
    assert one.request_id != other.request_id


async def test_curls_default_content_type_is_a_body_too(gateway: Gateway, photo: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await gateway.http.post("/predict", content=photo, headers=headers)).status_code == 200


@pytest.mark.parametrize("value", [b"photo.jpg", "фото.jpg".encode(), b"", b"/tmp/" + b"a" * 4000])
@pytest.mark.parametrize(("route", "field"), [("/predict", "file"), ("/predict/batch", "files")])
async def test_a_path_in_place_of_the_file_is_named(gateway: Gateway, route: str, field: str, value: bytes) -> None:
    answer = await gateway.http.post(route, files={field: (None, value)})
    assert (answer.status_code, answer.json()["error"]) == (400, "missing_file")
    assert answer.json()["detail"] == f"the field '{field}' holds text, not a file; with curl write -F {field}=@PATH"


async def test_a_photo_without_a_name_is_scored_and_other_bytes_are_no_path(gateway: Gateway, photo: bytes) -> None:
    for content in (photo, *(picture(kind=kind, size=(8, 8)) for kind in ("JPEG", "PNG", "WEBP", "AVIF"))):
        assert (await gateway.http.post("/predict", files={"file": (None, content)})).status_code == 200
    for content in (b"text\0", b"\xff", b"a" * 5000):
        answer = await gateway.http.post("/predict", files={"file": (None, content)})
        assert answer.json()["error"] == "not_an_image"
    mixed = [("files", ("a.jpg", photo)), ("files", (None, b"b.jpg"))]
    results = (await gateway.http.post("/predict/batch", files=mixed)).json()["results"]
    assert ["error" in each for each in results] == [False, True]


@pytest.mark.parametrize("body", [b'{"file": "photo.jpg"}', b' \r\n["a"]', b"{"])
async def test_json_in_place_of_the_photo_is_named(gateway: Gateway, body: bytes) -> None:
    for route in ("/predict", "/v1/predict/explain"):
        before = gateway.triton.requests
        answer = await gateway.http.post(route, content=body)
        assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")
        assert answer.json()["detail"] == "the body is JSON; send the photo itself, or the form field 'file'"
        assert gateway.triton.requests == before


async def test_an_unsure_picture_keeps_its_side(gateway: Gateway) -> None:
    answer = (await gateway.http.post("/predict", content=picture(size=(20, 20)))).json()

    assert (answer["verdict"], answer["prediction"], answer["reason"]) == ("unsure", "ai_generated", "too_small")
    assert answer["confidence"] == "low"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("4bf92f3577b34da6a3ce929d0e0e4736", True),
        ("00f067aa-0ba9-02b7-a3ce-929d0e0e4736", True),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", True),
        ("my-holiday.jpg", False),
        ("IMG_1234", False),
        ("a b", False),
        ("x" * 65, False),
        ("probe-watchdog", False),
        ("4bf92f3577b34da6a3ce929d0e0e4736#1", False),
    ],
)
async def test_a_callers_request_id_is_kept_if_it_cannot_be_a_name(gateway: Gateway, given: str, kept: bool) -> None:
    answer = await gateway.http.get("/healthz", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) is kept


async def test_the_id_in_the_answer_is_the_one_in_the_prediction_log(gateway: Gateway, photo: bytes) -> None:
    one = (await gateway.http.post("/predict", content=photo)).json()["request_id"]
    files = [("files", ("a.jpg", photo)), ("files", ("huge.jpg", bytes(20_000_001))), ("files", ("b.jpg", photo))]
    batch = (await gateway.http.post("/predict/batch", files=files)).json()["request_id"]
    explained = (await gateway.http.post("/predict/explain", content=photo)).json()["request_id"]
    assert gateway.triton.request_ids[1:] == [one, f"{batch}#0", f"{batch}#2", explained]
    assert gateway.triton.request_ids[0] == "probe-watchdog"


async def test_batch_keeps_order_and_a_bad_file_fails_alone(gateway: Gateway, photo: bytes) -> None:
    files = [
        ("files", ("bright.jpg", photo)),
        ("files", ("notes.txt", b"hello")),
        ("files", ("dark.png", picture(20, kind="PNG"))),
        ("files", ("huge.jpg", bytes(20_000_001))),
        ("comment", (None, "other fields are no files")),
    ]
    answer = await gateway.http.post("/predict/batch", files=files)

    body = BatchAnswer.model_validate(answer.json())
    assert (body.total, body.successful, body.failed, body.model_version) == (4, 2, 2, 1)
    assert [result.filename for result in body.results] == ["bright.jpg", "notes.txt", "dark.png", "huge.jpg"]
    words = [result.get("verdict", result.get("error")) for result in answer.json()["results"]]
    assert words == ["ai_generated", "not_an_image", "real", "file_too_large"]


async def test_batch_is_scored_together(gateway: Gateway, photo: bytes) -> None:
    gateway.triton.slow = 0.3
    started = time.perf_counter()
    answer = await gateway.http.post("/predict/batch", files=[("files", ("a.jpg", photo))] * 8)

    assert answer.json()["successful"] == 8
    assert time.perf_counter() - started < 6 * 0.3  # one after the other they take 8
    assert gateway.triton.most_in_flight > 1


async def test_batch_has_bounds(gateway: Gateway, photo: bytes) -> None:
    files = [("files", ("a.jpg", photo))]
    assert (await gateway.http.post("/predict/batch", files=files * 20)).status_code == 200
    assert (await gateway.http.post("/predict/batch", files=files * 21)).json()["error"] == "too_many_files"


async def test_batch_fails_whole_where_triton_is_away(gateway: Gateway, photo: bytes) -> None:
    gateway.triton.fault = ServiceUnavailableError("gone")
    answer = await gateway.http.post("/predict/batch", files=[("files", ("a.jpg", photo))] * 2)
    assert (answer.status_code, answer.json()["error"]) == (503, "service_unavailable")


async def test_explanation_adds_up_and_is_a_picture(gateway: Gateway) -> None:
    answer = await gateway.http.post("/predict/explain", content=picture(size=(2000, 1000)))

    body = ExplainAnswer.model_validate(answer.json())
    logit = np.log(body.probability / (1 - body.probability))
    assert np.mean(body.evidence) + body.evidence_bias == pytest.approx(logit, abs=1e-3)
    assert np.shape(body.evidence) == (1, 7, 7)
    overlay = Image.open(io.BytesIO(base64.b64decode(body.overlay_png_base64)))
    assert (overlay.format, overlay.size) == ("PNG", (1024, 512))
    assert "AI generation (red)" in body.explanation


@pytest.mark.parametrize(("brightness", "red", "blue"), [(30, False, True), (127, True, True), (220, True, True)])
async def test_a_photo_answered_real_is_not_painted_red(
    gateway: Gateway, brightness: int, red: bool, blue: bool
) -> None:
    def mixed(data: bytes) -> Outputs:
        answer = dict(FakeTransport.answer(data))
        answer[EVIDENCE] = answer[EVIDENCE] * 0 + np.linspace(-5, 5, 7, dtype=np.float32)
        return answer

    gateway.triton._handler = mixed
    answer = (await gateway.http.post("/predict/explain", content=picture(brightness))).json()
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["overlay_png_base64"]))), np.int16)
    warmth = pixels[..., 0] - pixels[..., 2]
    assert (bool((warmth > 20).any()), bool((warmth < -20).any())) == (red, blue)
    assert ("the rest" in answer["explanation"]) is red


async def test_explanations_have_a_bound_of_their_own(gateway: Gateway, photo: bytes) -> None:
    with gateway.services.drawings.take(gateway.services.drawings.places):
        answer = await gateway.http.post("/predict/explain", content=photo)
        assert (answer.status_code, answer.json()["error"]) == (503, "overloaded")
        assert (await gateway.http.post("/predict", content=photo)).status_code == 200
    assert (await gateway.http.post("/predict/explain", content=photo)).status_code == 200


async def test_a_place_given_back_in_a_moment_is_waited_for(gateway: Gateway, photo: bytes) -> None:
    places = gateway.services.scorer.places
    with places.take(places.places):
        call = asyncio.create_task(gateway.http.post("/predict", content=photo))
        await asyncio.sleep(PATIENCE_S / 4)
        assert not call.done()
    assert (await call).status_code == 200


async def test_callers_that_do_not_pause_cannot_ask_without_end(gateway: Gateway, photo: bytes) -> None:
    places = gateway.services.scorer.places
    with places.take(places.places):
        started, refused = time.perf_counter(), 0
        while time.perf_counter() < started + 10 * PATIENCE_S:
            answer = await gateway.http.post("/predict", content=photo)
            assert (answer.status_code, answer.json()["error"]) == (503, "overloaded")
            refused += 1
    assert refused <= 11
    assert places.taken == 0
    assert (await gateway.http.post("/predict", content=photo)).status_code == 200


async def test_no_place_is_lost_when_callers_hang_up(gateway: Gateway, photo: bytes) -> None:
    gateway.triton.slow = 5.0
    calls = [asyncio.create_task(gateway.http.post("/predict", content=photo)) for _ in range(5)]
    await asyncio.sleep(0.1)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    assert gateway.services.scorer.places.taken == 0
    assert gateway.services.uploads.memory.taken == 0


async def test_uploads_together_have_a_bound(open_gateway: Open) -> None:
    async with open_gateway(max_buffered_mb=3) as gateway:  # of which a third is for copies
        with gateway.services.uploads.memory.take(1_000_000):
            answer = await gateway.http.post("/predict", content=bytes(1_500_000))
        assert (answer.status_code, answer.json()["error"]) == (503, "overloaded")
        assert gateway.services.uploads.memory.taken == 0
        assert (await gateway.http.post("/predict", content=picture())).status_code == 200
