"""What the desk says of a case; as HTML of our own everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from veriphoto_client.page.provenance import claimed, details
from veriphoto_client.page.words import REASONS, UNJUDGED, likelihood, rarity
from veriphoto_review.cases.case import REAL_SHARE, Case, State, Truth
from veriphoto_review.cases.store import Change
from veriphoto_review.reports.pages import day

WORDS = {"ai_generated": "AI-generated", "real": "no sign of AI generation", "unsure": "unsure"}
WHY = {
    "flagged": "flagged by the model",
    "unsure": "the model is unsure",
    "audit": "drawn at random from what was called real",
    "feedback": "reported through feedback",
}
TRUTHS = {Truth.REAL: "Real photo", Truth.AI: "AI-generated", Truth.UNKNOWN: "Cannot tell"}
"""What people decide, on buttons, in filters and in sentences."""


def decision(reviewer: str, truth: str, state: str, verdict: str = "") -> str:
    """Words a decision.

    Args:
        reviewer: Who decided.
        truth: What the photo is.
        state: What that brought the case into.
        verdict: The model's, where it is known.
    """
    model = {State.CONFIRMED.value: "; the model was right", State.OVERTURNED.value: "; the model was wrong"}
    said = "; the model was unsure" if verdict == "unsure" and truth else model.get(state, "")
    return f"{reviewer}: {TRUTHS[Truth(truth)]}{said}"


def file_name(case: Case) -> str:
    """Returns the last part of a case's reference."""
    return case.reference.rstrip("/").rpartition("/")[2]


def score(case: Case) -> str:
    """Words the probability; empty where no score counts."""
    return "" if case.reason in UNJUDGED else likelihood(case.probability)


def facts(case: Case, claims: Mapping[str, Any] | None) -> str:
    """Returns a table of what a reviewer needs.

    Args:
        case: The case.
        claims: What the photo's metadata claim; None where they are not known.
    """
    return _table(_facts(case, claims))


def technical(case: Case, claims: Mapping[str, Any] | None) -> str:
    """Returns a table of the rest; see ``facts``."""
    return _table(_technical(case, claims))


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(
        f'<tr><th style="text-align:left;padding-right:.8em;vertical-align:top;width:34%">{escape(name)}</th>'
        f'<td style="overflow-wrap:anywhere">{escape(value)}</td></tr>'
        for name, value in rows
        if value
    )
    return f'<table style="font-size:.9rem;width:100%;table-layout:fixed">{lines}</table>'


def _facts(case: Case, claims: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    yield "Model says", ", ".join(filter(None, (WORDS[case.verdict], score(case))))
    yield "Because", REASONS.get(case.reason, case.reason)
    yield "Why a case", WHY.get(case.why, case.why)
    if case.real_share is not None and case.reason not in UNJUDGED:
        yield "How rare", rarity(case.real_share)
    yield "Shop", case.shop
    yield "Seller", case.seller
    yield "File", file_name(case)
    yield "Seen", day(case.seen_at)
    yield "Metadata", claimed(claims) if claims else "Not known: the photo is not at hand."


def _technical(case: Case, claims: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    yield "Model version", f"{case.model_version}"
    yield "Picture", case.reference
    yield "SHA-256", case.sha256
    yield "Request", case.request_id
    if claims:
        yield from details(claims)
    for name, value in (case.extra or {}).items():
        if name != REAL_SHARE or case.real_share is None:
            yield name.replace("_", " "), f"{value}"


def changes(history: list[Change], verdict: str = "") -> str:
    """Returns the history as a list.

    Args:
        history: All changes of one case, the oldest first.
        verdict: The model's.
    """
    lines = [f"<li>{escape(f'{day(change.at)} {_change(change, verdict)}')}</li>" for change in history]
    return f'<ul style="font-size:.85rem;overflow-wrap:anywhere">{"".join(lines)}</ul>'


def _change(change: Change, verdict: str) -> str:
    after: Mapping[str, Any] = change.after or {}
    note = f" “{after['note']}”" if after.get("note") else ""
    if change.action == "decided":
        return decision(change.actor, after.get("truth", ""), after.get("state", ""), verdict) + note
    action = "took a decision back" if change.action == "undone" else change.action
    return f"{change.actor} {action}{note}"
