"""What decisions tell, with numbers that can be checked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from veriphoto.intervals import wilson
from veriphoto_client.commandline.app import build
from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import now
from veriphoto_review.reports.figures import Share, figures
from veriphoto_review.reports.metrics import metrics
from veriphoto_review.reports.pages import interval, report_page, reviews

from .kit import bring, row

DAY = 86_400.0


def populate(store: CaseStore, folder: Path) -> None:
    """North: 100 flags, 80 right; 400 called real, all drawn, 8 missed. South, version 2: 10 flags, none judged."""
    rows = [row(n, shop="north") for n in range(100)]
    rows += [row(n, "real", 0.1, shop="north") for n in range(100, 500)]
    rows += [row(n, shop="<b>south", model_version=2, seen_at=1_796_000_000.0) for n in range(500, 510)]
    bring(store.database, folder, rows, audit_share=1.0)
    numbers = {int(case.sha256, 16): case.id for case in store.page(Filter(), limit=1000)}
    for first, last, truth in ((0, 80, Truth.AI), (80, 100, Truth.REAL), (100, 108, Truth.AI), (108, 500, Truth.REAL)):
        store.decide([numbers[n] for n in range(first, last)], truth, reviewer="ann")


def test_the_figures(store: CaseStore, tmp_path: Path) -> None:
    populate(store, tmp_path)
    found = figures(store.database)
    north = found.by_shop["north"]
    assert north.precision == Share(80, 100)
    assert north.missed == Share(8, 400)
    assert north.judged == Share(100, 100)
    assert north.precision.interval == pytest.approx((0.7112, 0.8666), abs=1e-4)
    assert north.precision.needed == 1537 - 100  # 1.96^2 * 0.8 * 0.2 / 0.02^2
    assert north.missed.needed == 0
    rate = 100 * 0.2 / (100 * 0.2 + 400 * 0.98)
    assert north.wrongly_flagged is not None
    middle, low, high = north.wrongly_flagged
    assert middle == pytest.approx(rate)
    assert low < middle < high
    south = found.by_shop["<b>south"]
    assert (south.precision, south.judged, south.wrongly_flagged) == (Share(0, 0), Share(0, 10), None)
    assert south.precision.needed == 2401
    assert found.total.precision == found.by_version["1"].precision == found.by_month["2026-11"].precision
    assert list(found.by_version) == ["1", "2"]
    assert figures(store.database, shop="north").total.answers == {"ai_generated": 100, "real": 400}


def test_what_nobody_can_tell_counts_nowhere(store: CaseStore, tmp_path: Path) -> None:
    bring(store.database, tmp_path, [row(1), row(2)])
    one, two = (case.id for case in store.page(Filter()))
    store.decide([one], Truth.UNKNOWN, reviewer="ann")
    assert figures(store.database).total.precision == Share(0, 0)
    store.decide([two], Truth.REAL, reviewer="ann")
    assert figures(store.database).total.precision == Share(0, 1)


@pytest.mark.parametrize(("right", "fallen"), [(30, True), (45, False)])
def test_a_fall_is_told_only_beyond_chance(store: CaseStore, tmp_path: Path, right: int, fallen: bool) -> None:
    rows = [row(n, seen_at=now() - 60 * DAY) for n in range(100)]
    rows += [row(n, seen_at=now() - DAY) for n in range(100, 150)]
    bring(store.database, tmp_path, rows)
    numbers = {int(case.sha256, 16): case.id for case in store.page(Filter(), limit=1000)}
    store.decide([numbers[n] for n in range(95)], Truth.AI, reviewer="ann")
    store.decide([numbers[n] for n in range(95, 100)], Truth.REAL, reviewer="ann")
    store.decide([numbers[n] for n in range(100, 100 + right)], Truth.AI, reviewer="ann")
    store.decide([numbers[n] for n in range(100 + right, 150)], Truth.REAL, reviewer="ann")
    found = figures(store.database)
    assert (found.recent, found.earlier) == (Share(right, 50), Share(95, 100))
    assert found.fallen is fallen
    assert ("less often than before" in report_page(found)) is fallen
    result = CliRunner().invoke(build(), ["review", "report", "--database", store.database.url])
    assert result.exit_code == int(fallen)


def test_nothing_reviewed_is_no_fall(store: CaseStore) -> None:
    found = figures(store.database)
    assert not found.fallen
    assert "–" in report_page(found)
    assert "bound=" not in metrics(found), "what is not known is left out"


def test_metrics_are_what_prometheus_reads(store: CaseStore, tmp_path: Path) -> None:
    populate(store, tmp_path)
    families = {family.name: family for family in text_string_to_metric_families(metrics(figures(store.database)))}
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    low, high = wilson(80, 100)
    name = "veriphoto_review_shop_flag_precision"
    assert samples[name, (("bound", "estimate"), ("shop", "north"))] == 0.8
    assert samples[name, (("bound", "low"), ("shop", "north"))] == pytest.approx(low, abs=1e-6)
    assert samples[name, (("bound", "high"), ("shop", "north"))] == pytest.approx(high, abs=1e-6)
    assert samples["veriphoto_review_miss_rate", (("bound", "estimate"),)] == 0.02
    assert samples["veriphoto_review_cases", (("state", "open"), ("why", "flagged"))] == 10
    assert samples["veriphoto_review_answers", (("verdict", "real"),)] == 400


def test_next_to_nothing_does_not_look_like_nothing() -> None:
    assert interval(Share(0, 0)) == "–"
    assert interval(Share(0, 40)) == "none of 40 (0.0% to 8.8%)"
    assert interval(Share(1, 3000)).startswith("1 of 3000 (")
    assert (reviews(Share(5, 10), 2401, "flags"), reviews(Share(5, 10), 2400, "flags")) == (
        "2391 more",
        "not reachable with 2400 flags",
    )


def test_hostile_shops_stay_text(store: CaseStore, tmp_path: Path) -> None:
    name = 'a"} 7\n<script>x</script>\\'
    bring(store.database, tmp_path, [row(1, shop=name)])
    (case,) = store.page(Filter())
    store.decide([case.id], Truth.AI, reviewer="ann")
    found = figures(store.database)
    families = list(text_string_to_metric_families(metrics(found)))
    (family,) = [each for each in families if each.name == "veriphoto_review_shop_flag_precision"]
    assert {sample.labels["shop"] for sample in family.samples} == {name}
    page = report_page(found)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_command_writes_both_files(store: CaseStore, tmp_path: Path) -> None:
    populate(store, tmp_path)
    page, prom = tmp_path / "report.html", tmp_path / "out" / "review.prom"
    arguments = ["review", "report", "--database", store.database.url, "--html", str(page), "--metrics", str(prom)]
    result = CliRunner().invoke(build(), arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "80.0% (71.1% to 86.7%)" in result.output
    assert "2.0% (1.0% to 3.9%)" in page.read_text()
    for text in (result.output, page.read_text()):
        assert "none of 10" in text, "south's flags that were judged"
        assert "not reachable with 100 flags" in text, "1437 more reviews are more than there are"
        assert "0 more" in text
    assert "veriphoto_review_miss_rate" in prom.read_text()
