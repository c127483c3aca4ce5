"""KServe v2 at the gateway: what Triton's own client gets, and that every bound of /predict holds."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton_http
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from veriphoto.contract import ENSEMBLE, EVIDENCE, IMAGE, LOGIT, MAX_FILE_BYTES, PROBABILITY
from veriphoto.errors import ServiceUnavailableError
from veriphoto_client import FakeTransport
from veriphoto_client.sdk.answers import decode_answer
from veriphoto_client.triton.transport import OUTPUT_SHAPES
from veriphoto_serving.gateway.kserve import schema
from veriphoto_serving.gateway.kserve.tensors import LENGTH_HEADER as LENGTH
from veriphoto_serving.gateway.kserve.wire import JSON_BYTES

from .conftest import KEYS, Gateway, Open, listening, picture, wait_for

ROOT = Path(__file__).parents[4]
INFER = f"/v2/models/{ENSEMBLE}/infer"
KEY = {"X-API-Key": "0123456789abcdef"}  # tritonclient adds to what it is given, so it gets copies
UUID = "3d1c9f2e-8f1e-4f0e-9d9a-0a1b2c3d4e5f"
BRIGHT, DARK = picture(220), picture(20)


def asked(*photos: bytes, shape: list[int] | None = None) -> list[triton_http.InferInput]:
    image = triton_http.InferInput(IMAGE, shape or [len(photos), 1], "BYTES")
    image.set_data_from_numpy(np.array(photos, dtype=object).reshape(-1, 1), binary_data=True)
    return [image]


def as_json(*elements: Any, **more: Any) -> dict[str, Any]:
    image = {"name": IMAGE, "datatype": "BYTES", "shape": [len(elements), 1], "data": list(elements)}
    return {"inputs": [image], **more}


def b64(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def binary(*photos: bytes) -> tuple[bytes, dict[str, str]]:
    body, head = triton_http.InferenceServerClient.generate_request_body(asked(*photos))
    return body, {LENGTH: str(head)}


def test_tritons_client_asks_as_it_is_used_to() -> None:
    with listening(api_keys=KEYS) as (url, _), triton_http.InferenceServerClient(url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(ENSEMBLE)
        assert not client.is_model_ready("classifier", headers=dict(KEY)), "one model is to be seen"
        metadata = client.get_model_metadata(ENSEMBLE, headers=dict(KEY))
        config = client.get_model_config(ENSEMBLE, headers=dict(KEY))
        assert (metadata["inputs"][0]["name"], config["max_batch_size"]) == (IMAGE, 16)
        assert {one["name"] for one in metadata["outputs"]} == set(OUTPUT_SHAPES)

        wanted = [triton_http.InferRequestedOutput(PROBABILITY), triton_http.InferRequestedOutput(LOGIT, False)]
        answer = client.infer(ENSEMBLE, asked(BRIGHT, DARK), outputs=wanted, request_id=UUID, headers=dict(KEY))
        truth = [FakeTransport.answer(photo) for photo in (BRIGHT, DARK)]
        assert answer.get_response()["id"] == UUID
        for name in (PROBABILITY, LOGIT):
            assert answer.as_numpy(name) == pytest.approx(np.concatenate([one[name] for one in truth]))
        assert answer.as_numpy(EVIDENCE) is None, "only what was asked for"

        whole = client.infer(ENSEMBLE, asked(BRIGHT), model_version="1", headers=dict(KEY))
        again = decode_answer({name: whole.as_numpy(name) for name in OUTPUT_SHAPES})
        assert again.to_json() == decode_answer(truth[0]).to_json()

        classes = [triton_http.InferRequestedOutput(PROBABILITY, class_count=1)]
        (said,) = client.infer(ENSEMBLE, asked(BRIGHT), outputs=classes, headers=dict(KEY)).as_numpy(PROBABILITY)
        assert said[0].decode() == f"{truth[0][PROBABILITY][0, 0]:f}:0"

        pending = [client.async_infer(ENSEMBLE, asked(photo), headers=dict(KEY)) for photo in (BRIGHT, DARK)]
        assert [one.get_result().as_numpy(PROBABILITY).shape for one in pending] == [(1, 1)] * 2

        with pytest.raises(InferenceServerException, match=r"\[unauthorized\] an API key is needed"):
            client.infer(ENSEMBLE, asked(BRIGHT))
        with pytest.raises(InferenceServerException, match=r"\[not_an_image\] IMAGE\[1\]: ") as refused:
            client.infer(ENSEMBLE, asked(BRIGHT, b"hello", DARK), headers=dict(KEY))
        assert refused.value.status() == "422"


def test_the_configuration_is_tritons() -> None:
    told = text_format.Parse((ROOT / "model_repository" / ENSEMBLE / "config.pbtxt").read_text(), ModelConfig())
    theirs = json_format.MessageToDict(told, preserving_proto_field_name=True)
    ours = schema.model_config(99)
    for part in ("input", "output"):
        tensors = [{**one, "dims": [int(side) for side in one["dims"]]} for one in theirs[part]]
        assert tensors == [{key: one[key] for key in ("name", "data_type", "dims")} for one in ours[part]]
    assert {key: theirs[key] for key in ("name", "platform", "max_batch_size")}.items() <= ours.items()


async def test_json_and_a_bare_file_say_the_same(gateway: Gateway) -> None:
    truth = (await gateway.http.post("/predict", content=BRIGHT)).json()["probability"]
    for body in (as_json(b64(BRIGHT)), as_json({"b64": b64(BRIGHT)}), as_json([b64(BRIGHT)])):
        answer = await gateway.http.post(INFER, json=body)
        outputs = {one["name"]: one for one in answer.json()["outputs"]}
        assert set(outputs) == set(OUTPUT_SHAPES)
        assert outputs[PROBABILITY] == {"name": PROBABILITY, "datatype": "FP32", "shape": [1, 1], "data": [truth]}
        assert answer.json()["parameters"]["request_id"] == answer.headers["x-request-id"]
    raw = await gateway.http.post(INFER, content=BRIGHT, headers={LENGTH: "0"})
    result = triton_http.InferenceServerClient.parse_response_body(raw.content, header_length=int(raw.headers[LENGTH]))
    assert result.as_numpy(PROBABILITY)[0, 0] == pytest.approx(truth)


async def test_the_prediction_log_gets_ids_that_are_none_of_a_file(gateway: Gateway) -> None:
    for given, kept in (("holiday.jpg", False), (UUID, True), ("probe-x", False), ("", False)):
        gateway.triton.request_ids.clear()
        answer = (await gateway.http.post(INFER, json=as_json(b64(BRIGHT), b64(DARK), id=given))).json()
        noted = answer["parameters"]["request_id"]
        assert gateway.triton.request_ids == [f"{noted}#0", f"{noted}#1"]
        assert (noted == given) is kept
        assert answer["id"] == (given or noted)


MALFORMED: dict[str, Any] = {
    "nothing": b"",
    "no json": b"{",
    "deep": b"[" * 100_000,
    "marks": b'{"inputs":[' + b"0," * 100_000 + b"0]}",
    "a long number": b'{"inputs":' + b"9" * 100_000 + b"}",
    "no input": {"inputs": []},
    "another input": {"inputs": [{"name": "CROPS", "datatype": "BYTES", "shape": [1, 1], "data": [""]}]},
    "numbers": as_json(1),
    "no base64": as_json("a photo?"),
    "fewer": {"inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [2, 1], "data": [b64(DARK)]}]},
    "flat": {"inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [1], "data": [b64(DARK)]}]},
    "none": {"inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [0, 1], "data": []}]},
    "huge": {"inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [9_999_999_999_999, 1], "data": ["a"]}]},
    "below": {"inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [-1, 1], "data": ["a"]}]},
    "shared memory": {
        "inputs": [
            {
                "name": IMAGE,
                "datatype": "BYTES",
                "shape": [1, 1],
                "parameters": {"shared_memory_region": "x", "shared_memory_byte_size": 9},
            }
        ]
    },
    "unknown output": as_json(b64(DARK), outputs=[{"name": "CROPS"}]),
    "surrogates": b'{"id": "\\ud800", "inputs": []}',
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_cannot_be_read_is_refused(gateway: Gateway, name: str) -> None:
    body = MALFORMED[name]
    asked_before = gateway.triton.requests
    answer = await gateway.http.post(INFER, content=body if isinstance(body, bytes) else json.dumps(body))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(("[bad_request] ", "[too_many_files] "))
    assert set(answer.json()) == {"error", "request_id"}
    assert gateway.triton.requests == asked_before


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("x", b"{}"),
        ("-1", b"{}"),
        ("99999999999999999999", b"{}"),
        ("9" * 5000, b"{}"),
        ("2", b"{}"),
        ("1", b"{}"),
    ],
)
async def test_a_wrong_length_is_refused(gateway: Gateway, head: str, body: bytes) -> None:
    answer = await gateway.http.post(INFER, content=body, headers={LENGTH: head})
    assert (answer.status_code, answer.json()["error"][:13]) == (400, "[bad_request]")


async def test_every_cut_of_a_binary_request_is_refused(gateway: Gateway) -> None:
    small = picture(20, (40, 40))
    body, headers = binary(small, small)
    head = int(headers[LENGTH])
    assert (await gateway.http.post(INFER, content=body, headers=headers)).status_code == 200
    for cut in (head, head + 1, head + 4, head + 100, len(body) - 1):
        assert (await gateway.http.post(INFER, content=body[:cut], headers=headers)).status_code == 400
    assert (await gateway.http.post(INFER, content=body + b"x", headers=headers)).status_code == 400
    lies = bytearray(body)
    lies[head : head + 4] = (0xFFFFFFFF).to_bytes(4, "little")
    assert (await gateway.http.post(INFER, content=bytes(lies), headers=headers)).status_code == 400


async def test_sizes_are_bounded(open_gateway: Open) -> None:
    large = bytes(MAX_FILE_BYTES + 1)
    async with open_gateway(max_batch_files=3) as gateway:
        for content, headers in ((large, {LENGTH: "0"}), binary(DARK, large)):
            answer = await gateway.http.post(INFER, content=content, headers=headers)
            assert (answer.status_code, answer.json()["error"][:16]) == (413, "[file_too_large]")
        answer = await gateway.http.post(INFER, content=bytes(JSON_BYTES + 1))
        assert (answer.status_code, answer.json()["error"][:16]) == (413, "[body_too_large]")
        content, headers = binary(*[DARK] * 4)
        answer = await gateway.http.post(INFER, content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"][:16]) == (400, "[too_many_files]")
        assert (await gateway.http.get(f"/v2/models/{ENSEMBLE}/config")).json()["max_batch_size"] == 3
        assert gateway.services.uploads.memory.taken == 0
        packed = await gateway.http.post(INFER, content=b"x", headers={"content-encoding": "gzip"})
        assert packed.status_code == 415


async def test_the_largest_photo_fits_in_json(gateway: Gateway) -> None:
    photo = DARK + bytes(MAX_FILE_BYTES - len(DARK))
    answer = await gateway.http.post(INFER, json=as_json(b64(photo), outputs=[{"name": PROBABILITY}]))
    assert answer.status_code == 200


async def test_rates_places_deadlines_and_absence_are_those_of_predict(open_gateway: Open) -> None:
    content, headers = binary(DARK, DARK, DARK)
    async with open_gateway(rate_limit=60, rate_burst=4) as gateway:
        assert (await gateway.http.post(INFER, content=content, headers=headers)).status_code == 200
        spent = await gateway.http.post(INFER, content=content, headers=headers)
        assert (spent.status_code, spent.json()["error"][:14]) == (429, "[rate_limited]")
        assert int(spent.headers["retry-after"]) >= 1
    async with open_gateway(max_in_flight=1) as gateway:
        gateway.triton.slow = 1.0
        first = asyncio.create_task(gateway.http.post(INFER, content=content, headers=headers))
        await wait_for(lambda: gateway.services.scorer.places.taken == 1)
        busy = await gateway.http.post(INFER, content=content, headers=headers)
        assert (busy.status_code, busy.json()["error"][:12]) == (503, "[overloaded]")
        first.cancel()
    async with open_gateway(request_timeout=0.05) as gateway:
        gateway.triton.slow = 5.0
        assert (await gateway.http.post(INFER, content=content, headers=headers)).status_code == 504
    async with open_gateway(canary_interval=0.05) as gateway:
        gateway.triton.fault = ServiceUnavailableError("10.0.0.7 is gone")
        await wait_for(lambda: gateway.services.watchdog.state == "down")
        for path in ("/v2/health/ready", f"/v2/models/{ENSEMBLE}/ready"):
            assert (await gateway.http.get(path)).status_code == 503
        assert (await gateway.http.get("/v2/health/live")).status_code == 200
        away = await gateway.http.post(INFER, content=content, headers=headers)
        assert away.status_code == 503
        assert "10.0.0.7" not in away.text


async def test_it_is_counted_and_needs_the_key(open_gateway: Open) -> None:
    async with open_gateway(api_keys=KEYS) as gateway:
        content, headers = binary(BRIGHT, DARK)
        assert (await gateway.http.post(INFER, content=content, headers={**headers, **KEY})).status_code == 200
        value = gateway.services.metrics.registry.get_sample_value
        assert value("veriphoto_gateway_images_total", {"format": "jpeg"}) == 2
        asked = {"route": INFER, "method": "POST", "status": "200", "key": "shop"}
        assert value("veriphoto_gateway_requests_total", asked) == 1
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", f"/v2/models/{ENSEMBLE}/ready"):
            assert (await gateway.http.get(path)).status_code == 200
        for path in (f"/v2/models/{ENSEMBLE}", f"/v2/models/{ENSEMBLE}/config", f"/v2/models/{ENSEMBLE}/versions/1"):
            assert (await gateway.http.get(path)).status_code == 401
            assert (await gateway.http.get(path, headers=KEY)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/v2/repository/index", "/v2/models/classifier", "/v2/models/classifier/infer", "/v2/models/stats"),
        *("/v2/models/detector/versions/2", "/v2/systemsharedmemory/status", "/v2/logging", "/v2/trace/setting"),
    ],
)
async def test_nothing_else_of_triton_is_to_be_seen(gateway: Gateway, path: str) -> None:
    answer = await gateway.http.get(path)
    assert (answer.status_code, answer.json()["error"][:11]) == (404, "[not_found]")
    if path.startswith("/v2/models/"):
        assert ENSEMBLE in answer.json()["error"], "says which model there is"


@pytest.mark.parametrize("name", ["flat", "another input", "unknown output", "no input"])
async def test_a_request_of_another_form_is_told_the_right_one(gateway: Gateway, name: str) -> None:
    answer = await gateway.http.post(INFER, content=json.dumps(MALFORMED[name]))
    assert "send one input: IMAGE, BYTES, of shape [photos, 1]" in answer.json()["error"]
