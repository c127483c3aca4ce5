"""docs/api.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.routing import APIRoute

from veriphoto_client.commandline.options import options_of
from veriphoto_serving.gateway.app import create_app
from veriphoto_serving.gateway.errors import STATUS
from veriphoto_serving.gateway.settings import GatewaySettings

TEXT = (Path(__file__).parents[4] / "docs" / "api.md").read_text()


def test_the_errors_table_is_the_codes() -> None:
    rows = {(int(status), code) for status, code in re.findall(r"^\| (\d{3}) \| `(\w+)` \|", TEXT, re.MULTILINE)}
    assert rows == {(status, kind.code) for kind, status in STATUS.items()}


def test_the_options_table_is_the_settings() -> None:
    rows = re.findall(r"^\| `--([a-z-]+)` \| (.*) \| (.*) \|$", TEXT, re.MULTILINE)
    words = {"None": "", "False": "off"}
    expected = [
        (each.name.replace("_", "-"), words.get(str(each.default), str(each.default)), shown.help)
        for each, shown in options_of(GatewaySettings)
    ]
    assert sorted(rows) == sorted(expected)


def test_every_route_is_told() -> None:
    settings = GatewaySettings(review_database="sqlite:///:memory:")
    paths = {route.path for route in create_app(settings).routes if isinstance(route, APIRoute)}
    assert all(f"{path}`" in TEXT for path in paths if not path.startswith("/v1"))
