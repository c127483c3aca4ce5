"""The dashboards as files: what Grafana would stumble over, and what a reader would."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from promql import DASHBOARDS, GRAFANA, panels

OLDEST_SCHEMA = 36
"""From here on a panel names its data source by type and uid."""
WIDTH = 24
VARIABLES = re.compile(r"\$\{?(\w+)")
BUILT_IN = {"__rate_interval"}


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(Path(request.param).read_text())


def test_there_are_the_three() -> None:
    assert [path.stem for path in DASHBOARDS] == ["drift", "infrastructure", "service"]
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len({each["uid"] for each in boards}) == len({each["title"] for each in boards}) == 3


def test_it_is_a_dashboard_that_can_be_provisioned(board: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
    assert board["schemaVersion"] >= OLDEST_SCHEMA
    assert "id" not in board, "an id belongs to one Grafana's database"
    assert "__inputs" not in board, "inputs are asked for in the browser only"
    assert board["title"]
    assert board["description"]


def test_panels_have_ids_of_their_own(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in panels(board)]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0


def test_panels_do_not_overlap(board: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in board["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= WIDTH
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_the_data_source_is_a_variable(board: dict[str, Any]) -> None:
    (variable,) = [each for each in board["templating"]["list"] if each["type"] == "datasource"]
    assert variable["query"] == "prometheus"
    wanted = {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
    for panel in panels(board):
        if panel["type"] != "row":
            assert panel["datasource"] == wanted
            assert panel["targets"]
            assert all(target["datasource"] == wanted for target in panel["targets"])


def test_variables_exist(board: dict[str, Any]) -> None:
    known = {each["name"] for each in board["templating"]["list"]} | BUILT_IN
    assert set(VARIABLES.findall(json.dumps(board["panels"]))) <= known


def test_panels_can_be_read(board: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in panels(board)]
    assert all(titles)
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references)


def test_provisioning_leads_to_them() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/veriphoto.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
