"""The API fuzzed from its own description: no 5xx, no undocumented status, no answer of another shape."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import listening, picture

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ROUTES = [
    "/",
    "/drift",
    "/feedback",
    "/health",
    "/healthz",
    "/metrics",
    "/predict",
    "/predict/batch",
    "/predict/explain",
    "/privacy",
    "/readyz",
    "/startup",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/detector",
    "/v2/models/detector/config",
    "/v2/models/detector/infer",
    "/v2/models/detector/ready",
]
# Random bytes alone would only ever be "no picture".
PICTURES = [picture(20), picture(220, kind="PNG"), picture(kind="WEBP"), picture()[:500], picture(size=(9, 9))]
schemathesis.openapi.format("binary", st.one_of(st.sampled_from(PICTURES), st.binary(max_size=200)))


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    review = f"sqlite:///{tmp_path_factory.mktemp('review') / 'review.db'}"
    with listening(review_database=review) as (url, _):
        while httpx.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.01)
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("route", ROUTES)
def test_fuzz(description: schemathesis.BaseSchema, route: str) -> None:
    method = "POST" if route.startswith(("/predict", "/feedback")) or route.endswith("/infer") else "GET"

    @given(case=description[route][method].as_strategy(generation_mode=GenerationMode.POSITIVE))
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def sent_as_described(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    @given(case=description[route][method].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def sent_otherwise(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    sent_as_described()
    with contextlib.suppress(Unsatisfiable):  # a route without parameters cannot be called otherwise
        sent_otherwise()


def test_every_route_is_fuzzed(description: schemathesis.BaseSchema) -> None:
    paths = {result.ok().path for result in description.get_all_operations()}
    assert paths == set(ROUTES)
