"""The monitor's metrics: the same numbers as ``/drift``, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Status = dict[str, Any]


class DriftCollector(Collector):
    """Makes every metric from the latest status, so that page and metrics cannot disagree.

    What is not known (nothing tested yet, no reference) is left out and not reported as 0.
    """

    def __init__(self, status: Callable[[], Status]) -> None:
        """Remembers where the status comes from."""
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yields all metrics."""
        status = self._status()
        yield from _totals(status)
        yield from _windows(status)
        yield from _statistics(status)
        for name, text, value in (
            ("mean_probability", "Mean probability over the short window.", status["mean_probability"]),
            ("ai_share", "Share of verdicts ai_generated over the short window.", status["prediction_ratio"]),
            ("low_confidence_ratio", "Share of answers of low confidence.", status["low_confidence_ratio"]),
            (
                "estimated_accuracy",
                "Estimated accuracy of the verdicts, without labels, if probabilities are right.",
                (status["estimate"] or {}).get("accuracy"),
            ),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"veriphoto_drift_{name}", text, value=float(value))
        scraped = GaugeMetricFamily(
            "veriphoto_drift_scrape_up", "Whether a Triton's metrics answer.", labels=["triton"]
        )
        for url, up in status["tritons"].items():
            scraped.add_metric([url], float(up))
        yield scraped


def _totals(status: Status) -> Iterator[Metric]:
    log = status["log"]
    yield CounterMetricFamily("veriphoto_drift_records", "Records of the prediction log taken in.", log["records"])
    yield CounterMetricFamily("veriphoto_drift_bad_lines", "Lines of the log that were no records.", log["bad_lines"])
    yield GaugeMetricFamily(
        "veriphoto_drift_log_reachable", "Whether the log's directory can be read.", value=float(log["reachable"])
    )
    if log["last_record"] is not None:
        yield GaugeMetricFamily(
            "veriphoto_drift_last_record_timestamp_seconds", "Time of the newest record.", value=log["last_record"]
        )


def _windows(status: Status) -> Iterator[Metric]:
    images = GaugeMetricFamily("veriphoto_drift_window_images", "Pictures in a window.", labels=["window"])
    detected = GaugeMetricFamily("veriphoto_drift_detected", "1 while a window has an alarm.", labels=["window"])
    score = GaugeMetricFamily(
        "veriphoto_drift_score", "Largest test value over its threshold; an alarm above 1.", labels=["window"]
    )
    for window in status["windows"]:
        label = [str(window["window"])]
        images.add_metric(label, window["images"])
        if window["drift_detected"] is not None:
            detected.add_metric(label, float(window["drift_detected"]))
            score.add_metric(label, window["drift_score"])
    yield from (images, detected, score)


def _statistics(status: Status) -> Iterator[Metric]:
    for name, key, text in (
        ("statistic", "value", "Distance of a window from its reference."),
        ("p_value", "p_value", "How likely so large a distance is when nothing has moved."),
        ("threshold", "threshold", "Distance from which it is an alarm."),
        ("alarm", "alarm", "1 while the statistic has an alarm."),
    ):
        family = GaugeMetricFamily(f"veriphoto_drift_{name}", text, labels=["statistic", "window"])
        for window in status["windows"]:
            for one in window["statistics"]:
                family.add_metric([one["statistic"], str(window["window"])], float(one[key]))
        yield family
