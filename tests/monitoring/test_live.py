"""Rules and dashboards against what is there: Prometheus scrapes Triton, gateway and sidecar, and drift is provoked."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from promql import Query, metrics, needs_prometheus, queries, rules
from world import SAMPLES, World, recompressed, wait_for, world

from veriphoto.shared_names import REVIEW_FILE
from veriphoto_monitoring.canary import results
from veriphoto_monitoring.canary.run import run
from veriphoto_monitoring.settings import LEVEL
from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.intake.files import Batch
from veriphoto_review.intake.importing import ImportOptions, import_batches
from veriphoto_review.reports.figures import figures
from veriphoto_review.reports.metrics import write_metrics

pytestmark = [pytest.mark.triton, pytest.mark.prometheus, needs_prometheus, pytest.mark.timeout(1200)]

RECORDED = {rule["record"] for rule in rules() if "record" in rule}
SCRAPED = sorted(
    set().union(*(metrics(rule["expr"]) for rule in rules()), *(metrics(query.expression) for query in queries()))
    - RECORDED
)
HEALTHY, DRIFTED = 2500, 1000
MISSED_SCRAPE_S = 60.0
"""A part that is too busy to answer one scrape has no present value until the next."""


@dataclass(frozen=True)
class Seen:
    """What happened to the alert."""

    world: World
    after: list[dict[str, Any]]
    """Drift alerts after the pictures had changed; more of the same had raised none."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    var = tmp_path_factory.mktemp("monitoring")
    with world(var) as here:
        canaries(here, var / "canaries")
        reviews(here, right=47)
        ids = [here.post("/predict", path.read_bytes()) for path in SAMPLES]
        here.post("/predict", b"no picture")
        here.post("/predict/explain", SAMPLES[0].read_bytes())
        usual = here.records(ids)
        here.replay(usual, HEALTHY, seed=1)
        wait_for(lambda: here.value("veriphoto_drift_records_total") >= HEALTHY, "the sidecar did not read the log")
        here.run("drift", "baseline")
        # Until now the samples were held against the model's own reference, which they are nothing like.
        wait_for(lambda: not here.firing("VeriphotoDrift"), "the baseline did not silence the alert")
        here.replay(usual, HEALTHY, seed=2)
        wait_for(lambda: here.value("veriphoto_drift_records_total") >= 2 * HEALTHY, "the sidecar stopped reading")
        # The alert is evaluated some seconds after the value that it looks at.
        wait_for(
            lambda: here.value("veriphoto_drift_detected") == 0 and not here.firing("VeriphotoDrift"),
            "there is drift, or no answer, without a change",
        )
        small = here.records([here.post("/predict", recompressed(path)) for path in SAMPLES])
        here.replay(small, DRIFTED, seed=3)
        wait_for(lambda: here.firing("VeriphotoDrift"), "recompressed pictures came, and no alert fired")
        yield Seen(here, here.firing("VeriphotoDrift"))


def canaries(here: World, folder: Path) -> None:
    """Runs the canaries twice: for their reference, and against it."""
    for path in SAMPLES:
        group = "ai/taef2" if path.name.startswith("ai_") else "real/shops"
        (folder / group).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / group)
    reference = run(folder, here.environment["VERIPHOTO_URL"], 4, None, LEVEL)
    results.write(here.var / results.REFERENCE_FILE, reference)
    assert "shops" in here.run("canary", folder)


def reviews(here: World, right: int) -> None:
    """People judge 50 flags of last year, nearly all right, and 50 of this week."""
    database = Database(f"sqlite:///{here.var / f'review-{right}.db'}")
    rows = [
        {
            "path": f"{age}/{number}.jpg",
            "verdict": "ai_generated",
            "probability": 0.9,
            "model_version": 1,
            "seen_at": time.time() - age * 86_400,
        }
        for age in (1, 400)
        for number in range(50)
    ]
    import_batches(database, [Batch("rows", 1, rows, None)], ImportOptions())
    store = CaseStore(database)
    for age, confirmed in ((1, right), (400, 47)):
        numbers = [case.id for case in store.page(Filter(), limit=200) if case.reference.startswith(f"{age}/")]
        store.decide(numbers[:confirmed], Truth.AI, reviewer="ann")
        store.decide(numbers[confirmed:], Truth.REAL, reviewer="ann")
    write_metrics(here.var / REVIEW_FILE, figures(database))


def test_drift_fires_and_only_after_the_change(seen: Seen) -> None:
    assert set() < {each["labels"]["window"] for each in seen.after} <= {"1000", "5000"}


def test_the_alert_names_what_moved(seen: Seen) -> None:
    described = " ".join(each["annotations"]["description"] for each in seen.after)
    assert "jpeg_quality" in described
    assert seen.after[0]["annotations"]["runbook"] == "docs/monitoring.md#veriphotodrift"


def test_nothing_else_is_said_to_be_broken(seen: Seen) -> None:
    wait_for(lambda: seen.world.value("min(veriphoto_gateway_healthy)") == 1.0, "the gateway is not healthy")
    firing = {each["labels"]["alertname"] for each in seen.world.api("alerts")["alerts"] if each["state"] == "firing"}
    # Here the canaries' requests are most of the traffic, and one in some 50 of it is no picture.
    assert firing <= {"VeriphotoDrift", "VeriphotoLatencyP99", "VeriphotoQueueTime"}


def test_every_rule_can_be_evaluated(seen: Seen) -> None:
    found = [rule for group in seen.world.api("rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules())
    assert [rule for rule in found if rule["health"] != "ok"] == []


@pytest.mark.parametrize("name", SCRAPED)
def test_every_metric_that_is_named_exists(seen: Seen, name: str) -> None:
    wait_for(lambda: seen.world.query(name), f"nobody exports {name}", MISSED_SCRAPE_S)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_every_recorded_number_has_a_value(seen: Seen, name: str) -> None:
    wait_for(lambda: not math.isnan(seen.world.value(name)), "no value", MISSED_SCRAPE_S)


@pytest.mark.parametrize("query", queries(), ids=str)
def test_every_panel_has_data(seen: Seen, query: Query) -> None:
    expression = query.expression.replace("$__rate_interval", "2m").replace("$window", ".*")
    assert "$" not in expression

    def numbers() -> list[str]:
        values = (each["value"][1] for each in seen.world.query(expression))
        return [value for value in values if value != "NaN"]

    wait_for(numbers, f"no data: {expression}", MISSED_SCRAPE_S)


def test_reviews_are_shown_and_falling_precision_fires(seen: Seen) -> None:
    estimate = 'veriphoto_review_flag_precision{period="recent", bound="estimate"}'
    wait_for(lambda: seen.world.value(estimate) == 0.94, "the monitor does not show what reviewers found")
    assert seen.world.firing("VeriphotoPrecisionFalling") == []
    reviews(seen.world, right=30)
    wait_for(lambda: seen.world.firing("VeriphotoPrecisionFalling"), "precision fell, and no alert fired")
