"""The figures for Prometheus: one text, which the monitor shows on its own page and node exporter can read too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from veriphoto.files import replace_text
from veriphoto_review.reports.figures import Figures, Share


def write_metrics(path: Path, found: Figures) -> None:
    """Writes the metrics, whole or not at all.

    Args:
        path: A name that ends in ``.prom``.
        found: The figures.

    Raises:
        OSError: If the disk refuses.
    """
    replace_text(path, metrics(found))


def metrics(found: Figures) -> str:
    """Returns the metrics in Prometheus' text format. What is not known is left out, never 0."""
    return "".join(_families(found))


def _families(found: Figures) -> Iterator[str]:
    total = found.total
    yield _family("veriphoto_review_cases", "Cases by why they are one and where they stand.")
    for (why, state), count in sorted(total.states.items()):
        yield _line("veriphoto_review_cases", {"why": why, "state": state}, count)
    yield _family("veriphoto_review_answers", "Answers imported, by verdict.")
    for verdict, count in sorted(total.answers.items()):
        yield _line("veriphoto_review_answers", {"verdict": verdict}, count)
    name = "veriphoto_review_flag_precision"
    yield _family(name, "Share of judged flags that people confirmed, by when the answer was given.")
    for period, share in (("recent", found.recent), ("earlier", found.earlier)):
        yield from _bounds(name, {"period": period}, share)
    name = "veriphoto_review_shop_flag_precision"
    yield _family(name, "Share of judged flags that people confirmed, by shop.")
    for shop, tally in found.by_shop.items():
        yield from _bounds(name, {"shop": shop}, tally.precision)
    name = "veriphoto_review_miss_rate"
    yield _family(name, "Share of the audit sample that is AI-generated though it was called real.")
    yield from _bounds(name, {}, total.missed)
    name = "veriphoto_review_needed"
    yield _family(name, "Reviews that are missing until a figure is known to +-2 points.")
    yield _line(name, {"figure": "precision"}, total.precision.needed)
    yield _line(name, {"figure": "miss_rate"}, total.missed.needed)
    name = "veriphoto_review_report_timestamp_seconds"
    yield _family(name, "When these figures were counted.")
    yield _line(name, {}, round(found.at, 3))


def _bounds(name: str, labels: dict[str, str], share: Share) -> Iterator[str]:
    if share.value is None:
        return
    low, high = share.interval
    for bound, value in (("estimate", share.value), ("low", low), ("high", high)):
        yield _line(name, {**labels, "bound": bound}, round(value, 6))


def _family(name: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} gauge\n"


def _line(name: str, labels: dict[str, str], value: float) -> str:
    inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inner}}} {value}\n" if inner else f"{name} {value}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
