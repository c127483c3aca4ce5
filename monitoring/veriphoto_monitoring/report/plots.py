"""Draws a window against its reference as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from veriphoto_monitoring.input.features import Floats, Monitored
from veriphoto_monitoring.stats.distributions import Categories, Distribution, Numbers

BINS: Final = 24
_WIDTH: Final = 360
_HEIGHT: Final = 130
_BASE: Final = 104
_LEFT: Final = 8
_REFERENCE: Final = "#5b6b7b"
_WINDOW: Final = "#d9822b"


def compare(each: Monitored, found: Distribution, values: Floats) -> str:
    """Draws shares: the window as bars, the reference as a line over them.

    Args:
        each: The statistic.
        found: Its distribution in the reference.
        values: [N] of the window, N at least 1.

    Returns:
        An SVG element; empty for a mean, which is drawn with its statistic's distribution.
    """
    if isinstance(found, Categories):
        counts = np.bincount(values.astype(np.intp), minlength=len(found.counts))
        return _bars(each.name, found.counts / found.counts.sum(), counts / len(values), each.categories)
    if not isinstance(found, Numbers):
        return ""
    low, high = _range(found, values)
    edges = np.linspace(low, high, BINS + 1)
    inner = edges[1:-1]
    function = np.concatenate([[0.0], _function(found, inner), [1.0]])
    counts = np.bincount(np.searchsorted(inner, values, "left"), minlength=BINS)
    ends = (f"{low:.4g}", f"{high:.4g}")
    return _bars(each.name, np.diff(function), counts / len(values), ends)


def timeline(scores: Sequence[tuple[float, float]], name: str) -> str:
    """Draws a window's score over its tests; the line at 1 is the threshold.

    Args:
        scores: Time and score of each test, oldest first.
        name: Label of the plot for screen readers.
    """
    if not scores:
        return ""
    top = max(1.5, *(score for _, score in scores))
    step = (_WIDTH - 2 * _LEFT) / max(len(scores) - 1, 1)
    points = " ".join(
        f"{_LEFT + step * number:.1f},{_BASE - score / top * 90:.1f}" for number, (_, score) in enumerate(scores)
    )
    line, red = _BASE - 90 / top, "#b3261e"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(name)}">'
        f'<line x1="{_LEFT}" x2="{_WIDTH - _LEFT}" y1="{line:.1f}" y2="{line:.1f}" stroke="{red}"/>'
        f'<polyline points="{points}" fill="none" stroke="{_WINDOW}" stroke-width="2"/>'
        f'<text x="{_LEFT}" y="{line - 4:.1f}" font-size="10" fill="{red}">threshold</text></svg>'
    )


def _range(found: Numbers, values: Floats) -> tuple[float, float]:
    ends = [values.min(), values.max(), *found.values[[0, -1]]]
    if len(found.values) > BINS:
        # The outermost values of either side would squeeze everything else.
        ends = [*np.quantile(values, [0.005, 0.995]), *np.quantile(found.values, [0.005, 0.995])]
    low, high = float(min(ends)), float(max(ends))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _function(found: Numbers, at: Floats) -> Floats:
    cells = found.cells(at)
    return np.asarray((found.lower[cells] + found.upper[cells]) / 2.0)


def _bars(name: str, reference: Floats, window: Floats, labels: Sequence[str]) -> str:
    top = max(float(reference.max()), float(window.max()), 1e-9)
    step = (_WIDTH - 2 * _LEFT) / len(window)
    shapes, line = [], []
    for number, (before, now) in enumerate(zip(reference, window, strict=True)):
        left, height = _LEFT + step * number, now / top * 90
        shapes.append(
            f'<rect x="{left + 1:.1f}" y="{_BASE - height:.1f}" width="{step - 2:.1f}" height="{height:.1f}" '
            f'fill="{_WINDOW}" fill-opacity="0.55"/>'
        )
        line += [f"{left:.1f},{_BASE - before / top * 90:.1f}", f"{left + step:.1f},{_BASE - before / top * 90:.1f}"]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(name)}: window against reference">'
        + "".join(shapes)
        + f'<polyline points="{" ".join(line)}" fill="none" stroke="{_REFERENCE}" stroke-width="2"/>'
        + _axis(labels)
        + "</svg>"
    )


def _axis(labels: Sequence[str]) -> str:
    if len(labels) == 2:
        places = [(_LEFT, "start"), (_WIDTH - _LEFT, "end")]
    else:
        step = (_WIDTH - 2 * _LEFT) / len(labels)
        places = [(round(_LEFT + step * (number + 0.5)), "middle") for number in range(len(labels))]
    return "".join(
        f'<text x="{x}" y="{_BASE + 16}" font-size="11" text-anchor="{anchor}">{escape(label)}</text>'
        for (x, anchor), label in zip(places, labels, strict=True)
    )
