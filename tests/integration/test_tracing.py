"""One trace from the gateway's caller into Triton's steps, with a real collector."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from gateway_beside import gateway
from otlp_receiver import receiver
from toy_model import copy_repository, publish_toy

from veriphoto.telemetry import tracing

if TYPE_CHECKING:
    from tests.conftest import StartTriton

ROOT = Path(__file__).parent.parent.parent
PHOTO = (ROOT / "samples" / "real_boots.jpg").read_bytes()

pytestmark = pytest.mark.triton


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_triton_joins_the_gateways_trace(
    start_triton: StartTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    trace = uuid.uuid4().hex
    with receiver() as collector:
        monkeypatch.setenv(tracing.ENDPOINT_VARIABLE, collector.endpoint)
        repository = copy_repository(tmp_path / "models")
        publish_toy(repository, 1)
        server = start_triton(repository, traces_url=tracing.traces_url())
        url = server.grpc_url if scheme == "grpc" else server.http_url
        with gateway(triton_url=f"{scheme}://{url}") as address:
            headers = {"traceparent": f"00-{trace}-{uuid.uuid4().hex[:16]}-01"}
            answer = httpx.post(f"{address}/predict", content=PHOTO, headers=headers, timeout=60)
            assert answer.status_code == 200
        asked, _ = collector.wait("veriphoto-gateway", 2)
        found = collector.wait("veriphoto-triton", 10)  # the request, the ensemble, and two for each of its steps
        assert {each.trace for each in collector.spans} == {trace}, "probes are not traced"
    assert [each.name for each in found if each.parent == asked.span] == ["InferRequest"]
    assert {"preprocess", "classifier", "second_opinion", "recorder", "detector"} < {each.name for each in found}
    assert PHOTO[:50] not in b"".join(collector.raw)
