"""One case for the one whom it concerns: what was said, how sure that is, what was decided and how to appeal."""

from __future__ import annotations

import base64
import io
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from veriphoto.decoding import decode
from veriphoto.errors import ImageError, UsageError
from veriphoto_client.page.gateway import Gateway, PageError
from veriphoto_client.page.provenance import claimed, details
from veriphoto_client.page.words import REASONS, UNJUDGED, likelihood, rarity
from veriphoto_review.cases.case import Case, Truth
from veriphoto_review.cases.evidence import OtherVersionError, overlay
from veriphoto_review.cases.pictures import claims_of, read_picture
from veriphoto_review.cases.store import CaseStore
from veriphoto_review.intake.feedback import CHANNEL as FEEDBACK
from veriphoto_review.reports.figures import Tally, figures
from veriphoto_review.reports.pages import render

_SIDE: Final = 900
"""Longest side of the photo in the report."""
NOT_STATED: Final = "not stated by the platform"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What only the platform knows, for the statement of reasons (Regulation (EU) 2022/2065, Article 17).

    Read from a TOML file; each field is a line ``name = "text"``.
    """

    platform: str = NOT_STATED
    restriction: str = NOT_STATED
    """What happens to the listing: hidden, demoted, labelled, removed."""
    territory: str = NOT_STATED
    duration: str = NOT_STATED
    ground: str = NOT_STATED
    """The law, or the clause of the terms and conditions, and why the content falls under it."""
    illegal: bool = False
    """Whether the ground is a law; else it is the terms and conditions."""
    notice: str = ""
    """Who notified; empty where the platform looked by itself."""
    appeal: str = NOT_STATED
    """Internal complaint: where, until when."""
    settlement: str = NOT_STATED
    """Out-of-court body."""
    court: str = "You may also go to court."
    contact: str = NOT_STATED

    @classmethod
    def read(cls, path: Path) -> Policy:
        """Reads a policy file.

        Raises:
            UsageError: If it cannot be read, or has a field that there is not.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f'{path} cannot be read: {error}; write lines such as appeal = "..."') from error
        kinds = {each.name: bool if each.name == "illegal" else str for each in fields(cls)}
        for name, value in values.items():
            if not isinstance(value, kinds.get(name, ())):
                raise UsageError(f"{path}: {name} is not a field of a policy, or not its kind; use {', '.join(kinds)}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Dispute:
    """A report."""

    page: str
    missing: str
    """Why there is no evidence map; empty where there is one."""


def dispute_page(
    store: CaseStore, number: int, policy: Policy, gateway: Gateway | None = None, *, with_note: bool = False
) -> Dispute:
    """Renders the report of a case, as one file.

    Args:
        store: Store that holds the case.
        number: Number of the case.
        policy: The platform's part.
        gateway: Draws the evidence map; without it there is none.
        with_note: Print the note of the decision, which a reviewer may have meant for colleagues alone.

    Raises:
        UsageError: If there is no such case.
        DatabaseError: If the database refuses.
    """
    case = store.get(number)
    try:
        data, gone = read_picture(case), ""
    except ImageError as error:
        data, gone = b"", error.message
    photo, evidence, missing, ours = _pictures(case, data, gateway) if data else ("", "", gone, False)
    claims = claims_of(case, data)
    tally = figures(store.database, shop=case.shop).by_version.get(str(case.model_version), Tally())
    judged = case.reason not in UNJUDGED
    page = render(
        "dispute.html.j2",
        case=case,
        photo=photo,
        evidence=evidence,
        missing="" if ours else missing,
        tally=tally,
        rate=tally.wrongly_flagged,
        claimed=claimed(claims) if claims else "",
        claims=details(claims or {}),
        policy=policy,
        by="system" if case.channel == FEEDBACK else "person" if case.channel else "nobody",
        cleared=case.truth == Truth.REAL,
        note=case.note if with_note else "",
        score=likelihood(case.probability) if judged else "",
        because=REASONS.get(case.reason, case.reason),
        rare=rarity(case.real_share) if judged and case.real_share is not None else "",
        second=(case.extra or {}).get("second_opinion"),
    )
    return Dispute(page, missing)


def _pictures(case: Case, data: bytes, gateway: Gateway | None) -> tuple[str, str, str, bool]:
    """Returns photo and evidence map as data URIs, why one is not there, and whether only we need to know that."""
    try:
        image = decode(data).image
    except ImageError as error:
        return "", "", error.message, False
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    photo = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    if case.reason in UNJUDGED:
        return photo, "", REASONS[case.reason], True
    if gateway is None:
        return photo, "", "no gateway was asked", True
    try:
        drawn = overlay(case, data, gateway)
    except PageError as error:
        return photo, "", str(error).rstrip("."), not isinstance(error, OtherVersionError)
    return photo, f"data:image/png;base64,{drawn}", "", False
