"""The monitor shows what reviewers found, from the file that the report leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from veriphoto.shared_names import REVIEW_FILE
from veriphoto_monitoring.report.review import ReviewCollector, review_sentence, review_summary
from veriphoto_review.reports.figures import Figures, Share, Tally
from veriphoto_review.reports.metrics import write_metrics

FOUND = Figures(
    at=1.0, total=Tally(), by_shop={}, by_version={}, by_month={}, recent=Share(30, 50), earlier=Share(95, 100)
)


def test_what_the_report_wrote_is_shown(tmp_path: Path) -> None:
    write_metrics(tmp_path / REVIEW_FILE, FOUND)
    registry = CollectorRegistry()
    registry.register(ReviewCollector(tmp_path / REVIEW_FILE))
    labels = {"period": "recent", "bound": "estimate"}
    assert registry.get_sample_value("veriphoto_review_flag_precision", labels) == 0.6
    summary = review_summary(tmp_path / REVIEW_FILE)
    assert summary is not None
    assert review_sentence(summary) == (
        "Reviewers confirmed 60.0% (46.2% to 72.4%) of the flags of the last 30 days, "
        "95.0% (88.8% to 97.8%) of those before."
    )


@pytest.mark.parametrize("text", [None, "", "nonsense {", "other_metric 1\n", "\x00\xff"])
def test_a_file_that_is_none_of_ours_shows_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / REVIEW_FILE).write_text(text)
    registry = CollectorRegistry()
    registry.register(ReviewCollector(tmp_path / REVIEW_FILE))
    assert list(registry.collect()) == []
    assert review_summary(tmp_path / REVIEW_FILE) is None
    assert "Nothing reviewed yet" in review_sentence(None)


def test_figures_of_another_release_are_left_out(tmp_path: Path) -> None:
    (tmp_path / REVIEW_FILE).write_text("veriphoto_review_flag_precision 0.9\n")
    assert review_summary(tmp_path / REVIEW_FILE) is None
