"""The monitor's status: one JSON object that is rebuilt after every change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from veriphoto_monitoring.drift.alarms import Alarm
from veriphoto_monitoring.drift.monitor import BAD_LINES, LAST_TIME, RECORDS, DriftMonitor, Switch
from veriphoto_monitoring.drift.results import WindowEvaluation
from veriphoto_monitoring.input.features import LOW, MONITORED, VERDICTS, Floats, column
from veriphoto_monitoring.stats import performance
from veriphoto_monitoring.stats.budget import LEAST, WINDOWS
from veriphoto_monitoring.stats.distributions import Reference
from veriphoto_monitoring.stats.prior import estimate_share

CAUSES: Final = {
    "prior": "the share of AI-generated pictures moved, or more of them pass as real; the pictures look as before",
    "score": "the model scores pictures in another way, which no other share of AI-generated pictures explains",
    "input": "pictures look different, which no other share of AI-generated pictures explains",
    "unknown": "whether a moved share of AI-generated pictures explains it cannot be told",
}
"""What each cause means."""
CAVEAT: Final = (
    "The reference is the model's own validation pictures, no sample of your traffic: an alarm says how your pictures "
    "and their share of AI-generated ones differ from those the model was measured on, not that anything has changed. "
    "Look once, then make a baseline: veriphoto drift baseline."
)
"""Shown wherever the reference is a manifest."""
_SHOWN: Final = min(WINDOWS)


def describe(monitor: DriftMonitor, now: float) -> dict[str, Any]:
    """Describes the state of the model version that answered last.

    Args:
        monitor: The monitor; it must not change meanwhile.
        now: Seconds since the epoch.

    Returns:
        The body of ``GET /drift``.
    """
    version = monitor.version
    reference = monitor.sources.reference(version) if version is not None else None
    evaluations, alarms = monitor.evaluations(), monitor.alarms()
    totals = monitor.store.totals()
    windows = [_window(window, evaluations.get(window), alarms) for window in WINDOWS]
    known = [window["drift_score"] for window in windows if window["drift_score"] is not None]
    return {
        "timestamp": iso(now),
        "status": _status(version, reference, evaluations, alarms),
        "model_version": version,
        "source": monitor.source,
        "source_switched": _switched(monitor.switched),
        **_answers(monitor, version, reference),
        # None while nothing can be tested: neither drift nor its absence.
        "drift_detected": bool(alarms) if evaluations or alarms else None,
        "drift_score": max(known, default=None),
        "alerts": [alert(one) for one in sorted(alarms, key=lambda one: one.raised)],
        "windows": windows,
        "reference": _reference(reference),
        "log": {
            "reachable": monitor.tail.reachable(),
            "records": int(totals.get(RECORDS, 0)),
            "bad_lines": int(totals.get(BAD_LINES, 0)),
            "last_record": monitor.store.state(LAST_TIME),
        },
        "tritons": dict(monitor.scraper.up),
    }


def alert(alarm: Alarm) -> dict[str, Any]:
    """Describes an alarm in words and numbers."""
    each = next(one for one in MONITORED if one.name == alarm.statistic)
    moved = alarm.direction if each.kind == "category" else f"{each.name} {alarm.direction}"
    label = f"{each.name}: {moved}" if each.kind == "category" else moved
    when = f"over the last {alarm.window} pictures, since about {iso(alarm.since)}"
    return {
        "message": f"{label} {when}: {CAUSES[alarm.cause]}",
        "statistic": alarm.statistic,
        "window": alarm.window,
        "direction": alarm.direction,
        "cause": alarm.cause,
        "value": alarm.value,
        "threshold": alarm.threshold,
        "p_value": alarm.p_value,
        "raised": iso(alarm.raised),
        "since": iso(alarm.since),
        "request_ids": list(alarm.request_ids),
    }


def watcher(status: Mapping[str, Any]) -> str:
    """Says what the alarms are based on, and since when if that has changed."""
    switched = status.get("source_switched")
    if not switched:
        return str(status["source"])
    kept = f"; {switched['alarms_kept']} alarms were kept" if switched["alarms_kept"] else ""
    return f"{status['source']} (since {switched['time']}: {switched['why']}{kept})"


def iso(time: float) -> str:
    """Returns a time as ISO 8601 in UTC, clipped to the years that ``datetime`` supports."""
    return datetime.fromtimestamp(min(max(time, 0.0), 253402300799.0), UTC).isoformat(timespec="seconds")


def _switched(switch: Switch | None) -> dict[str, Any] | None:
    if switch is None:
        return None
    return {"time": iso(switch.time), "why": switch.why, "alarms_kept": switch.alarms}


def _status(version: int | None, reference: Reference | None, evaluations: object, alarms: Sequence[Alarm]) -> str:
    if alarms:
        return "drift"
    if version is not None and reference is None:
        return "no reference"
    return "ok" if evaluations else "not enough data"


def _window(window: int, found: WindowEvaluation | None, alarms: Sequence[Alarm]) -> dict[str, Any]:
    own = {alarm.statistic: alarm for alarm in alarms if alarm.window == window}
    statistics = [
        {
            **result.to_json(),
            "alarm": result.statistic in own,
            "since": iso(own[result.statistic].since) if result.statistic in own else None,
        }
        for result in (found.results if found else ())
    ]
    return {
        "window": window,
        "images": found.images if found else 0,
        "needed": LEAST,
        "until": iso(found.time) if found else None,
        "drift_detected": bool(own) if found or own else None,
        "drift_score": found.score if found else None,
        "statistics": statistics,
    }


def _answers(monitor: DriftMonitor, version: int | None, reference: Reference | None) -> dict[str, Any]:
    """Returns means and shares over the short window."""
    if monitor.source == "log" and version in monitor.detector.histories:
        rows = monitor.detector.histories[version].rows(_SHOWN)
        return _logged(rows, reference)
    counts = monitor.histogram_detector.window(version, _SHOWN) if version is not None else None
    images = counts.images if counts else 0
    body: dict[str, Any] = dict.fromkeys(_KEYS)
    body["window_size"] = images
    if counts and images:
        verdicts = counts.fields.get("verdict", np.zeros(len(VERDICTS)))
        body["mean_probability"] = counts.probability_sum / images
        body |= _shares(verdicts / max(float(verdicts.sum()), 1.0))
    return body


_KEYS: Final = (
    "window_size",
    "mean_probability",
    "std_probability",
    "low_confidence_ratio",
    "prediction_ratio",
    "verdict_shares",
    "estimated_ai_share",
    "estimate",
)


def _logged(rows: Floats, reference: Reference | None) -> dict[str, Any]:
    body: dict[str, Any] = dict.fromkeys(_KEYS)
    body["window_size"] = len(rows)
    if not len(rows):
        return body
    probability, prior = column(rows, "probability"), reference.prior if reference else None
    shares = np.bincount(column(rows, "verdict").astype(np.intp), minlength=len(VERDICTS)) / len(rows)
    return {
        **body,
        "mean_probability": float(probability.mean()),
        "std_probability": float(probability.std()),
        "low_confidence_ratio": float(column(rows, LOW).mean()),
        **_shares(shares),
        "estimated_ai_share": estimate_share(probability, prior) if prior is not None else None,
        "estimate": performance.estimate(rows, prior).to_json() if len(rows) >= LEAST else None,
    }


def _shares(shares: Floats) -> dict[str, Any]:
    named = {name: float(share) for name, share in zip(VERDICTS, shares, strict=True)}
    return {"prediction_ratio": named["ai_generated"], "verdict_shares": named}


def _reference(found: Reference | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "origin": found.origin,
        "model_version": found.model_version,
        "images": found.images,
        "from": iso(found.first) if found.first else None,
        "to": iso(found.last) if found.last else None,
        "estimated_ai_share": found.share,
        "statistics": list(found.distributions),
        "not_tested": [each.name for each in MONITORED if each.name not in found.distributions],
        "caveat": CAVEAT if found.of_validation else None,
        "inflation": {name: one.inflation for name, one in found.distributions.items() if one.inflation > 1.0},
    }
