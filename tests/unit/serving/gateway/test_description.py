"""The OpenAPI description is one that code generators and people can use."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel

from veriphoto_serving.gateway import examples
from veriphoto_serving.gateway.app import create_app
from veriphoto_serving.gateway.kserve import schema
from veriphoto_serving.gateway.models import BatchAnswer, ErrorAnswer, FeedbackRequest, HealthAnswer, PredictAnswer
from veriphoto_serving.gateway.settings import GatewaySettings

EXAMPLES: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (PredictAnswer, examples.PREDICT),
    (BatchAnswer, examples.BATCH),
    (ErrorAnswer, examples.ERROR),
    (HealthAnswer, examples.HEALTH),
    (FeedbackRequest, examples.FEEDBACK),
    (schema.InferRequest, examples.INFER_REQUEST),
    (schema.InferAnswer, examples.INFER),
    (schema.KserveError, examples.KSERVE_ERROR),
]


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    described: dict[str, Any] = create_app(GatewaySettings(review_database="sqlite:///:memory:")).openapi()
    return described


@pytest.mark.parametrize(("model", "example"), EXAMPLES, ids=lambda each: getattr(each, "__name__", ""))
def test_examples_are_what_the_schemas_say(
    model: type[BaseModel], example: dict[str, Any], description: dict[str, Any]
) -> None:
    model.model_validate(example)
    shown = description["components"]["schemas"][model.__name__]
    assert shown.get("example", example) == example


def operations(description: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in description["paths"].values() for operation in methods.values()]


def test_each_route_is_described_once_with_a_name_that_reads_well(description: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(description)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", name) for name in names)
    assert {"predict", "predict_batch", "feedback", "health", "kserve_infer"} <= set(names)
    assert not [path for path in description["paths"] if path.startswith("/v1")]


def test_every_body_and_answer_has_a_named_schema(description: dict[str, Any]) -> None:
    for operation in operations(description):
        contents = [answer.get("content", {}) for answer in operation["responses"].values()]
        contents.append(operation.get("requestBody", {}).get("content", {}))
        for content in contents:
            for kind, body in content.items():
                plain = body["schema"].get("type") == "string" and kind != "application/json"
                assert plain or "$ref" in body["schema"], operation["operationId"]


def test_no_reference_leads_nowhere(description: dict[str, Any]) -> None:
    references = set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(description)))
    assert references
    assert references <= set(description["components"]["schemas"])
