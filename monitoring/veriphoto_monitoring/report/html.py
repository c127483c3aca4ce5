"""The HTML report: alarms, tests and a picture of every statistic, in one file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any, Final

from veriphoto_monitoring.drift.detector import known
from veriphoto_monitoring.drift.monitor import DriftMonitor
from veriphoto_monitoring.report.plots import compare, timeline
from veriphoto_monitoring.report.review import review_sentence
from veriphoto_monitoring.report.status import watcher
from veriphoto_monitoring.stats.budget import WINDOWS

_TESTS_SHOWN: Final = 200
_PAGE: Final = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Veriphoto drift report</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #1f2933 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #ddd }
td.number { text-align: right; font-variant-numeric: tabular-nums } .alarm { background: #fdecea }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem }
figure { margin: 0 } figcaption { font-weight: 600 } code { font-size: .85em } .muted { color: #5b6b7b }
</style></head><body>
<h1>Drift report</h1>
<p>$summary</p>
<h2>Alarms</h2>$alarms
<h2>Tests</h2>$tests
<h2>Window against reference</h2>
<p class="muted">Bars: the newest pictures, at most $shown of them. Line: the reference.</p>
<div class="plots">$plots</div>
<h2>Score over time</h2><div class="plots">$timelines</div>
<h2>Estimated performance</h2>$estimate
<h2>What reviewers confirmed</h2>$reviews
</body></html>
""")


def render(monitor: DriftMonitor, status: Mapping[str, Any]) -> str:
    """Renders the report.

    Args:
        monitor: The monitor; it must not change meanwhile.
        status: The result of ``status.describe``.

    Returns:
        An HTML page.
    """
    return _PAGE.substitute(
        summary=_summary(status),
        alarms=_alarms(status["alerts"]),
        tests="".join(_tests(window) for window in status["windows"]),
        shown=max(WINDOWS),
        plots=_plots(monitor) or "<p>Nothing to draw.</p>",
        timelines=_timelines(monitor),
        estimate=_estimate(status["estimate"]),
        reviews=f"<p>{escape(review_sentence(status.get('review')))}</p>",
    )


def _summary(status: Mapping[str, Any]) -> str:
    reference = status["reference"]
    against = "no reference"
    if reference:
        period = f", {reference['from']} to {reference['to']}" if reference["from"] else ""
        against = (
            f"{reference['origin']} of version {reference['model_version']}: {reference['images']} pictures{period}"
        )
    return escape(
        f"Made {status['timestamp']}. Model version {status['model_version']}, status: {status['status']}, "
        f"watched by its {watcher(status)}. Reference: {against}. {(reference or {}).get('caveat') or ''}"
    )


def _alarms(alerts: Sequence[Mapping[str, Any]]) -> str:
    if not alerts:
        return "<p>None.</p>"
    items = []
    for one in alerts:
        ids = ", ".join(f"<code>{escape(name)}</code>" for name in one["request_ids"]) or "known only from the log"
        items.append(
            f"<li>{escape(one['message'])}<br><span class='muted'>Raised {one['raised']}. Look at: {ids}</span></li>"
        )
    return f"<ul>{''.join(items)}</ul>"


def _tests(window: Mapping[str, Any]) -> str:
    if not window["statistics"]:
        return f"<p>{window['window']} pictures: not enough data ({window['needed']} pictures are needed).</p>"
    rows = "".join(
        f"<tr{' class=alarm' if one['alarm'] else ''}><td>{escape(one['statistic'])}</td>"
        f"<td>{escape(one['direction'])}</td>"
        + "".join(f"<td class=number>{one[key]:.4g}</td>" for key in ("value", "threshold", "p_value"))
        + f"<td>{one['since'] or ''}</td></tr>"
        for one in window["statistics"]
    )
    head = "".join(
        f"<th>{name}</th>" for name in ("Statistic", "Direction", "Value", "Threshold", "p-value", "Alarm since")
    )
    return f"<h3>{window['window']} pictures (now {window['images']})</h3><table><tr>{head}</tr>{rows}</table>"


def _plots(monitor: DriftMonitor) -> str:
    history = monitor.detector.histories.get(monitor.version) if monitor.version is not None else None
    if history is None or history.reference is None or not len(history):
        return ""
    rows = history.rows(max(WINDOWS))
    drawn = ((each, compare(each, found, rows[:, each.index])) for each, found in known(history.reference))
    return "".join(f"<figure><figcaption>{escape(each.name)}</figcaption>{svg}</figure>" for each, svg in drawn if svg)


def _timelines(monitor: DriftMonitor) -> str:
    if monitor.version is None:
        return ""
    parts = []
    for window in WINDOWS:
        found = monitor.store.evaluations(monitor.version, window, _TESTS_SHOWN)
        svg = timeline([(one.time, one.score) for one in found], f"score over {window} pictures")
        parts.append(f"<figure><figcaption>{window} pictures</figcaption>{svg}</figure>")
    return "".join(parts)


def _estimate(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "<p>Not enough data.</p>"
    shown = {name: found[name] for name in ("accuracy", "precision", "recall", "answered") if found[name] is not None}
    figures = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
    return f"<p>{figures} over {found['images']} pictures.</p><p class='muted'>{escape(found['assumption'])}</p>"
