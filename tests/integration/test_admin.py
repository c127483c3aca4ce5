"""The administrative client against the real server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from veriphoto.contract import CLASSIFIER, ENSEMBLE
from veriphoto.errors import ModelError, ServiceError, ServiceUnavailableError, UsageError
from veriphoto_client import Detector
from veriphoto_client.triton.admin import TritonAdmin
from veriphoto_serving.triton.launcher import TritonServer

pytestmark = pytest.mark.triton
PHOTO = sorted((Path(__file__).parents[2] / "samples").glob("*.jpg"))[0]


def test_every_call(repository: Path, start_triton: Callable[..., TritonServer]) -> None:
    server = start_triton(repository)
    admin = TritonAdmin(address=server.http_url, key=server.admin_key)
    assert admin.ready()
    assert admin.metadata()["name"] == "triton"
    assert admin.metadata(ENSEMBLE)["name"] == ENSEMBLE
    assert {each["name"]: each["state"] for each in admin.index()}[CLASSIFIER] == "READY"
    with Detector(f"http://{server.http_url}") as detector:
        version = detector.predict(PHOTO).verdict.model_version
    (counted,) = admin.statistics(CLASSIFIER)
    assert (int(counted["version"]), counted["inference_stats"]["success"]["count"] > 0) == (version, True)

    config = admin.config(CLASSIFIER)
    admin.load(CLASSIFIER, {**config, "parameters": {**config.get("parameters", {}), "again": {"string_value": "1"}}})
    assert "again" in admin.config(CLASSIFIER)["parameters"]
    with pytest.raises(ModelError, match="does not load"):
        admin.load("no_such_model")
    with pytest.raises(ServiceError, match="no_such_model"):
        admin.config("no_such_model")
    admin.unload(ENSEMBLE)
    assert not admin.ready(ENSEMBLE)
    assert "READY" not in [each["state"] for each in admin.index() if each["name"] == ENSEMBLE and "state" in each]

    stranger = replace(admin, key="another")
    assert stranger.ready(CLASSIFIER)
    for refused in (stranger.index, lambda: stranger.load(CLASSIFIER), lambda: stranger.config(CLASSIFIER)):
        with pytest.raises(UsageError, match="refuses the admin key"):
            refused()
    server.stop()
    with pytest.raises(ServiceUnavailableError, match="is away"):
        admin.index()
