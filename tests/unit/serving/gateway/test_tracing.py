"""The gateway's traces, as a collector receives them."""

from __future__ import annotations

import subprocess
import sys
import uuid

import httpx
import pytest
from otlp_receiver import receiver

from veriphoto.errors import MissingExtraError, ServiceError
from veriphoto.telemetry import tracing

from .conftest import listening, picture
from .test_http import ready


def test_a_request_joins_its_callers_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    trace, caller, request_id = uuid.uuid4().hex, uuid.uuid4().hex[:16], uuid.uuid4().hex
    headers = {"traceparent": f"00-{trace}-{caller}-01", "x-request-id": request_id}
    files = {"file": ("my-secret-name.jpg", picture())}
    with receiver() as collector:
        monkeypatch.setenv(tracing.ENDPOINT_VARIABLE, collector.endpoint)
        with listening() as (address, server):
            ready(address)
            assert httpx.post(f"{address}/predict", files=files, headers=headers).status_code == 200
            transport = server._services.scorer._detector._service._transport

            async def failing(data: bytes, request_id: str = "") -> None:
                raise ServiceError("sent by a caller")

            transport.score = failing
            assert httpx.post(f"{address}/predict", files=files, headers=headers).status_code == 503
        good_child, good, bad_child, bad = collector.wait("veriphoto-gateway", 4)  # ended when the gateway ended
    assert len(collector.spans) == 4, "GET is not traced"
    assert {each.trace for each in collector.spans} == {trace}
    assert (good.name, good.parent, good_child.name, good_child.parent) == (
        *("POST /predict", caller),
        *("score photo", good.span),
    )
    assert good.attributes == {
        "http.route": "/predict",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "veriphoto.request_id": request_id,
    }
    assert (bad.attributes["http.response.status_code"], bad.status, good.status) == (503, 2, 0)
    assert bad_child.parent == bad.span
    sent = b"".join(collector.raw)
    assert b"secret" not in sent
    assert b"sent by a caller" not in sent
    assert b"127.0.0.1" not in sent


def test_without_an_endpoint_nothing_is_imported() -> None:
    program = (  # FastAPI imports OpenTelemetry's interface by itself
        "import sys, veriphoto_serving.gateway.server; from veriphoto.telemetry import tracing\n"
        "with tracing.exporting('x'), tracing.server_span({}) as span:\n"
        "    assert span is None and tracing.outgoing_headers() == {}\n"
        "assert not {'opentelemetry.sdk', 'opentelemetry.exporter', 'requests'} & sys.modules.keys()"
    )
    environment = {"PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


def test_an_endpoint_without_the_extra_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.ENDPOINT_VARIABLE, "http://127.0.0.1:4318/")
    assert tracing.traces_url() == "http://127.0.0.1:4318/v1/traces"
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(MissingExtraError, match="tracing"):
        tracing.traces_url()
