"""What the desk says of a case, as HTML of our own in which everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from veriphoto_review.cases.case import Case
from veriphoto_review.cases.store import Change
from veriphoto_review.reports.pages import day, percent

WORDS = {"ai_generated": "AI-generated", "real": "no sign of AI generation", "unsure": "unsure"}
WHY = {
    "flagged": "flagged by the model",
    "unsure": "the model is unsure",
    "audit": "drawn at random from what was called real",
    "feedback": "reported through feedback",
}


def facts(case: Case) -> str:
    """Returns a table of what is known."""
    rows = "".join(
        f'<tr><th style="text-align:left;padding-right:.8em;vertical-align:top;width:34%">{escape(name)}</th>'
        f'<td style="overflow-wrap:anywhere">{escape(value)}</td></tr>'
        for name, value in _facts(case)
        if value
    )
    return f'<table style="font-size:.9rem;width:100%;table-layout:fixed">{rows}</table>'


def _facts(case: Case) -> Iterator[tuple[str, str]]:
    yield "Model says", f"{WORDS[case.verdict]}, {percent(case.probability)}, version {case.model_version}"
    yield "Why a case", WHY.get(case.why, case.why)
    yield "Reason", case.reason.replace("_", " ")
    extra = case.extra or {}
    high = extra.get("real_photos_this_high")
    if isinstance(high, int | float):
        yield "Real photos this high", percent(float(high))
    yield "Shop", case.shop
    yield "Seller", case.seller
    yield "Picture", case.reference
    yield "Seen", day(case.seen_at)
    for name, claim in (case.provenance or {}).items():
        if isinstance(claim, dict) and claim.get("status") == "present":
            details = ", ".join(
                f"{value}" for key, value in claim.items() if key != "status" and value not in ("", None)
            )
            yield f"Metadata: {name.replace('_', ' ')}", details or "present"
    for name, value in extra.items():
        if name != "real_photos_this_high":
            yield name.replace("_", " "), f"{value}"


def changes(history: list[Change]) -> str:
    """Returns the history as a list."""
    lines = []
    for change in history:
        after = change.after or {}
        found = f": {after['state']}" if after else ""
        note = f" “{after['note']}”" if after.get("note") else ""
        lines.append(f"<li>{escape(f'{day(change.at)} {change.actor} {change.action}{found}{note}')}</li>")
    return f'<ul style="font-size:.85rem;overflow-wrap:anywhere">{"".join(lines)}</ul>'
