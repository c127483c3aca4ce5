"""The administrative client against the real server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from toy_model import SAMPLES, copy_repository, publish_toy

from veriphoto.contract import CLASSIFIER, ENSEMBLE
from veriphoto.errors import ModelError, ServiceError, ServiceUnavailableError, UsageError
from veriphoto_client import Detector
from veriphoto_client.triton.admin import TritonAdmin
from veriphoto_serving.triton.launcher import TritonServer

pytestmark = pytest.mark.triton


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return copy_repository(tmp_path / "models")


def loaded(admin: TritonAdmin) -> set[str]:
    return {each["name"] for each in admin.index() if each.get("state") == "READY"}


def test_every_call(repository: Path, start_triton: Callable[..., TritonServer]) -> None:
    publish_toy(repository, 1)
    server = start_triton(repository)
    admin = TritonAdmin(address=server.http_url, key=server.admin_key)
    assert admin.ready()
    assert admin.metadata()["name"] == "triton"
    assert admin.metadata(ENSEMBLE)["name"] == ENSEMBLE
    assert {CLASSIFIER, ENSEMBLE} <= loaded(admin)
    with Detector(f"http://{server.http_url}") as detector:
        version = detector.predict(SAMPLES[0]).verdict.model_version
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
    assert ENSEMBLE not in loaded(admin)

    stranger = replace(admin, key="another")
    assert stranger.ready(CLASSIFIER)
    for refused in (stranger.index, lambda: stranger.load(CLASSIFIER), lambda: stranger.config(CLASSIFIER)):
        with pytest.raises(UsageError, match="refuses the admin key"):
            refused()
    server.stop()
    with pytest.raises(ServiceUnavailableError, match="is away"):
        admin.index()
