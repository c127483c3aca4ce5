"""The scrape configuration and the rules: Prometheus' own checks, and what they promise to the rest of the project."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from promql import PROMETHEUS, ROOT, alerts, metrics, needs_promtool, queries, rules

from veriphoto.contract import GATEWAY_PORT, SIDECAR_PORT, TRITON_METRICS_PORT
from veriphoto.errors import ServiceError, VeriphotoError
from veriphoto_serving.gateway.errors import BusyError, status_of

CASES = sorted(Path(__file__).parent.glob("*_test.yml"))
SEVERITIES = {"critical", "warning"}


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_the_configuration_is_sound() -> None:
    assert "SUCCESS" in promtool("check", "config", PROMETHEUS / "prometheus.yml")


@needs_promtool
def test_the_rules_are_sound() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", PROMETHEUS / "rules" / "alerts.yml")


@needs_promtool
@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_must_and_else_are_silent(cases: Path) -> None:
    promtool("test", "rules", cases)


def test_every_alert_is_tested_for_both() -> None:
    seen: defaultdict[str, set[bool]] = defaultdict(set)
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for expected in case["alert_rule_test"]:
                seen[expected["alertname"]].add(bool(expected.get("exp_alerts")))
    assert dict(seen) == {rule["alert"]: {True, False} for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_needs_to(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"]["summary"]
    document, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / document).read_text(), re.MULTILINE)
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()


def test_no_runbook_without_its_alert() -> None:
    headings = re.findall(r"^### (Veriphoto\w+)$", (ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts()]


@pytest.mark.parametrize(
    ("job", "port"), [("gateway", GATEWAY_PORT), ("triton", TRITON_METRICS_PORT), ("sidecar", SIDECAR_PORT)]
)
def test_ports_are_those_of_the_contract(job: str, port: int) -> None:
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (scrape,) = [each for each in configuration["scrape_configs"] if each["job_name"] == f"veriphoto-{job}"]
    assert scrape["file_sd_configs"] == [{"files": [f"targets/{job}.yml"]}]
    assert yaml.safe_load((PROMETHEUS / "targets" / f"{job}.yml").read_text()) == [{"targets": [f"127.0.0.1:{port}"]}]


def every(kind: type[VeriphotoError]) -> Iterator[type[VeriphotoError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every(child)


def test_our_faults_are_the_gateways_5xx_except_shedding() -> None:
    (rule,) = [rule for rule in rules() if rule.get("record") == "veriphoto:faults:rate5m"]
    found = re.search(r'reason=~"([^"]+)"', rule["expr"])
    assert found
    faults = {VeriphotoError.code} | {kind.code for kind in every(ServiceError)} - {BusyError.code}
    assert {kind.code for kind in every(VeriphotoError) if re.fullmatch(found[1], kind.code)} == faults
    assert all(status_of(kind("")) >= 500 for kind in (VeriphotoError, *every(ServiceError)))


def test_recorded_names_are_used() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = set().union(*(metrics(rule["expr"]) for rule in rules()))
    assert recorded <= used


def test_names_are_found_in_expressions() -> None:
    assert metrics('sum by (le) (rate(a_b{c=~"d|e", f="g{"}[5m] offset 1d)) / 1e6 > 2 * h:i and on () j unless k') == {
        *("a_b", "h:i", "j", "k")
    }


def test_every_metric_that_is_used_is_in_the_inventory() -> None:
    used = set().union(
        *(metrics(rule["expr"]) for rule in rules()), *(metrics(query.expression) for query in queries())
    )
    used |= {rule["record"] for rule in rules() if "record" in rule}
    text = (ROOT / "docs" / "monitoring.md").read_text()
    documented = set(re.findall(r"`((?:veriphoto|nv)_\w+|veriphoto:[\w:]+)`", text))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used if name not in documented}
    assert families - documented - {"up", "scrape_duration_seconds"} == set()
