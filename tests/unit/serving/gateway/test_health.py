from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from veriphoto.contract import ENSEMBLE
from veriphoto.errors import DeadlineExceededError, ServiceUnavailableError, UsageError
from veriphoto_serving.gateway.health.drift import DriftMonitorClient
from veriphoto_serving.gateway.models import HealthAnswer
from veriphoto_serving.gateway.settings import GatewaySettings

from .conftest import KEYS, Gateway, Open, picture, wait_for

DOWN = "Triton does not score the test picture"


async def test_health_is_deep(gateway: Gateway) -> None:
    answer = await gateway.http.get("/health")
    body = HealthAnswer.model_validate(answer.json())

    assert (answer.status_code, body.status, body.model_version) == (200, "ok", 1)
    assert body.reason is None
    assert body.canary is not None
    assert body.canary.age_s < 10
    assert body.drift == {"state": "away"}


async def test_everything_says_so_when_triton_is_away(open_gateway: Open) -> None:
    async with open_gateway(canary_interval=0.05) as gateway:
        gateway.triton.fault = ServiceUnavailableError("gone")
        await wait_for(lambda: gateway.services.watchdog.state == "down")

        health = await gateway.http.get("/health")
        assert (health.status_code, health.json()["reason"]) == (503, f"{DOWN}; see its log")
        assert (await gateway.http.get("/readyz")).json() == {"status": "down"}
        assert (
            (await gateway.http.get("/healthz")).status_code == (await gateway.http.get("/startup")).status_code == 200
        )
        before = gateway.triton.requests
        started = time.perf_counter()
        refused = await gateway.http.post("/predict", content=picture())
        assert refused.status_code == 503
        assert refused.json()["detail"] == "the scoring server is away; try again in a moment", "nobody restarts it"
        assert time.perf_counter() - started < 0.1
        assert gateway.triton.requests == before, "nobody asks a Triton that is known to be dead"

        gateway.triton.fault = None
        await wait_for(lambda: gateway.services.watchdog.state == "ok")
        assert (await gateway.http.post("/predict", content=picture())).status_code == 200


async def test_waiting_requests_are_let_go_when_triton_dies(gateway: Gateway) -> None:
    gateway.triton.slow = 30.0
    call = asyncio.create_task(gateway.http.post("/predict", content=picture()))
    await wait_for(lambda: gateway.services.scorer.places.taken == 1)
    gateway.triton.fault = ServiceUnavailableError("gone")
    gateway.services.watchdog.alarm("a process has ended")

    async with asyncio.timeout(1.0):
        assert (await call).json()["error"] == "service_unavailable"


async def test_draining_fails_readiness_and_still_serves(gateway: Gateway) -> None:
    gateway.services.draining = True

    assert (await gateway.http.get("/readyz")).status_code == 503
    assert (await gateway.http.get("/health")).json()["reason"] == "the gateway is stopping"
    answer = await gateway.http.post("/predict", content=picture())
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")


async def test_metrics_count_and_hold_nothing_private(gateway: Gateway) -> None:
    await gateway.http.post("/predict", files={"file": ("my-secret-name.jpg", picture())})
    await gateway.http.post("/predict", content=b"hello")
    await gateway.http.get("/a-secret-path")
    text = (await gateway.http.get("/v1/metrics")).text

    assert "secret" not in text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["veriphoto_gateway_verdicts_total", "1", "ai_generated"] == 1
    assert samples["veriphoto_gateway_images_total", "jpeg"] == 1
    assert samples["veriphoto_gateway_refusals_total", "not_an_image"] == 1
    assert samples["veriphoto_gateway_requests_total", "/predict", "422", "POST", "anonymous"] == 1
    assert samples["veriphoto_gateway_requests_total", "404", "GET", "anonymous", "unmatched"] == 1
    assert samples[("veriphoto_gateway_healthy",)] == 1


@pytest.mark.parametrize("route", ["/predict/batch", f"/v2/models/{ENSEMBLE}/infer"])
async def test_photos_of_a_request_that_fails_as_a_whole_are_counted_one_by_one(gateway: Gateway, route: str) -> None:
    """Or a batch of twenty that fails would weigh as much as one photo, and one that is scored twenty times as much."""
    gateway.triton.fault = DeadlineExceededError("late")
    if route == "/predict/batch":
        answer = await gateway.http.post(route, files=[("files", ("a.jpg", picture()))] * 3)
    else:
        data = [b64encode(picture()).decode()] * 3
        image = {"name": "IMAGE", "shape": [3, 1], "datatype": "BYTES", "data": data}
        answer = await gateway.http.post(route, json={"inputs": [image]})
    assert answer.status_code == 504
    value = gateway.services.metrics.registry.get_sample_value
    assert value("veriphoto_gateway_refusals_total", {"reason": "deadline_exceeded"}) == 3


async def test_what_is_refused_before_its_route_counts_there(open_gateway: Open) -> None:
    shop = {"x-api-key": "0123456789abcdef"}
    async with open_gateway(api_keys=KEYS, rate_limit=1.0, rate_burst=1) as gateway:
        for path in ("/predict", "/v1/predict/batch/", "/v2/models/detector/versions/1/infer", "/v1/nothing"):
            assert (await gateway.http.post(path, content=picture())).status_code == 401
        assert (await gateway.http.get("/openapi.json", headers={"x-api-key": "wrong"})).status_code == 200, "open"
        assert (await gateway.http.get("/drift")).status_code == 401
        assert (await gateway.http.get("/v1/predict", headers=shop)).status_code == 405
        for status in (200, 429):
            answer = await gateway.http.post("/predict", content=picture(), headers=shop)
            assert answer.status_code == status
        text = (await gateway.http.get("/metrics", headers=shop)).text
    counted, timed = {}, {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "veriphoto_gateway_requests_total":
                counted[sample.labels["route"], sample.labels["status"]] = sample.value
            if sample.name == "veriphoto_gateway_request_seconds_count":
                timed[sample.labels["route"]] = sample.value
    assert counted == {
        ("/predict", "401"): 1,
        ("/predict/batch", "401"): 1,
        ("/v2/models/detector/versions/{version}/infer", "401"): 1,
        ("unmatched", "401"): 1,
        ("/drift", "401"): 1,
        ("/predict", "405"): 1,
        ("/predict", "200"): 1,
        ("/predict", "429"): 1,
        ("/openapi.json", "200"): 1,
    }
    assert timed["/predict"] <= 2, "the refusals by key and rate do not make the route's answers look fast"


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((200, {"drift_detected": False, "window_size": 1000}), "ok"),
        ((200, {"drift_detected": True}), "drift"),
        ((200, {"alerts": []}), "unknown"),
        ((200, {"drift_detected": None, "status": "not enough data"}), "unknown"),
        ((200, [1]), "unknown"),
        ((500, {}), "away"),
    ],
)
async def test_drift_is_the_monitors(answer: tuple[int, Any], state: str) -> None:
    def monitors(request: httpx.Request) -> httpx.Response:
        return httpx.Response(answer[0], json=answer[1]) if request.url.path == "/drift" else httpx.Response(404)

    for address in ("http://monitor/drift", "http://monitor:8003/"):
        monitor = DriftMonitorClient(address, httpx.MockTransport(monitors))
        report = await monitor.report()
        assert (report["state"], await monitor.state()) == (state, state)
        await monitor.close()


def test_a_monitor_that_could_never_be_asked_is_refused() -> None:
    assert GatewaySettings(sidecar_url="").sidecar_url == ""
    with pytest.raises(UsageError, match="--sidecar-url monitor:8003 is not an address"):
        GatewaySettings(sidecar_url="monitor:8003")


async def test_what_the_monitor_does_not_know_yet_is_passed_on() -> None:
    body = {"drift_detected": None, "status": "not enough data", "window_size": 17}
    monitor = DriftMonitorClient("http://monitor/drift", httpx.MockTransport(lambda _: httpx.Response(200, json=body)))
    assert await monitor.report() == {**body, "state": "unknown", "detail": "not enough data"}
    await monitor.close()


async def test_without_a_monitor_none_is_asked() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={})

    monitor = DriftMonitorClient("", httpx.MockTransport(answer))
    assert (await monitor.report())["detail"].startswith("this server has no drift monitor")
    assert (await monitor.state(), asked) == ("away", [])
    await monitor.close()


async def test_drift_says_so_when_the_monitor_is_away(gateway: Gateway) -> None:
    answer = await gateway.http.get("/drift")
    assert (answer.status_code, answer.json()["state"]) == (200, "away")


@pytest.mark.parametrize("route", ["/", "/privacy", "/v1", "/v1/", "/v1/privacy"])
async def test_about(gateway: Gateway, route: str) -> None:
    assert (await gateway.http.get(route)).status_code == 200
