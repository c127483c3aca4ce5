"""The desk, as Streamlit runs it: from top to bottom at every click."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st
from PIL import Image

from veriphoto.decoding import decode
from veriphoto.errors import ImageError, VeriphotoError
from veriphoto_client.page.drawing import overlaid, scale
from veriphoto_client.page.gateway import PageError
from veriphoto_client.page.table import sortable
from veriphoto_client.page.words import UNJUDGED, plain
from veriphoto_review.cases.case import Case, State, Truth
from veriphoto_review.cases.store import LONGEST_NOTE
from veriphoto_review.database.connection import now
from veriphoto_review.desk.cached import claims, drawn, picture, store
from veriphoto_review.desk.choices import (
    OPEN,
    VIEWS,
    chosen_cases,
    chosen_view,
    move_to,
    place,
    remember_who,
    show,
    who,
)
from veriphoto_review.desk.deciding import NOTE_HINT, buttons, message, undo
from veriphoto_review.desk.facts import TRUTHS, WHY, WORDS, changes, decision, facts, file_name, technical
from veriphoto_review.desk.people import progress, start_of_day
from veriphoto_review.desk.search import Search
from veriphoto_review.desk.thumbnails import thumbnails

ROWS: Final = 50


def main() -> None:
    """Draws the desk."""
    try:
        _desk()
    except VeriphotoError as error:
        st.error(plain(error.message), icon="⚠️")


def _desk() -> None:
    words, name, views = st.columns([4, 3, 3], vertical_alignment="bottom")
    with name:
        me = who()
    counts = store().decided_since(start_of_day(now()))
    words.markdown(progress(counts, me, store().count(OPEN)))
    with views:
        view = chosen_view()
    chosen, order = chosen_cases()
    counted = store().count(chosen)
    message()
    if not me:
        st.info("Say who you are to decide cases.")
    if not counted:
        st.markdown("No cases match." if chosen != OPEN else "No open cases. Well done.")
        undo(me)
    elif view == VIEWS[0]:
        _one_by_one(chosen, order, counted, me)
    else:
        _queue(chosen, order, counted, me)
    remember_who()


def _one_by_one(chosen: Search, order: Any, counted: int, me: str) -> None:
    here = min(place(), counted - 1)
    (case, *_) = [*store().page(chosen, order, limit=1, offset=here), None]
    if case is None:
        st.rerun()
    # In this order, because a phone shows columns one below the other.
    photo, words = st.columns([3, 2], gap="large")
    with photo:
        data = _photo(case)
    claimed = claims(case, data) if data else case.provenance
    with words:
        # Buttons first: they must be in sight whatever a case has to say.
        note = f"review note {case.id}"
        st.caption(f"Case {case.id} · {here + 1} of {counted}")
        if case.state != State.OPEN:
            st.markdown(f"**{plain(decision(case.reviewer, case.truth, case.state, case.verdict))}**")
        buttons([case], me, note, shortcuts=True)
        with st.container(horizontal=True):
            last = here + 1 >= counted
            st.button("Back", on_click=move_to, args=(here - 1,), disabled=not here, width="stretch", shortcut="Left")
            st.button("Skip", on_click=move_to, args=(here + 1,), disabled=last, width="stretch", shortcut="Right")
        undo(me)
        band = (case.unsure_low, case.unsure_high)
        if case.reason not in UNJUDGED and case.threshold is not None and None not in band:
            st.html(scale(case.probability, case.threshold, band))  # type: ignore[arg-type]
        st.text_area("Internal note", key=note, max_chars=LONGEST_NOTE, height=80)
        st.caption(NOTE_HINT)
        st.html(facts(case, claimed))
        with st.expander("Technical details"):
            st.html(technical(case, claimed))
        with st.expander("History"):
            st.html(changes(store().history(case.id), case.verdict))


def _photo(case: Case) -> bytes:
    """Shows the photo of a case, and returns its bytes; none where it is not at hand."""
    data = b""
    try:
        data = picture(case)
        shown: Image.Image = decode(data).image
    except ImageError as error:
        st.warning(plain(f"{error.message[:1].upper()}{error.message[1:]}."))
        return data
    strength = 0
    if case.reason not in UNJUDGED:
        strength = st.slider("Evidence over the photo", 0, 100, 0, format="%d %%", key="review evidence")
    if strength:
        try:
            shown = overlaid(data, drawn(case, data), strength / 100)
        except PageError as error:
            st.caption(plain(str(error)))
    st.image(shown, width="stretch")
    if strength:
        st.caption("Red speaks for AI, blue for a camera. The map shows where, not why.")
    return data


def _queue(chosen: Search, order: Any, counted: int, me: str) -> None:
    pages = (counted + ROWS - 1) // ROWS
    page = st.number_input(f"Page, of {pages}", 1, pages, 1) if pages > 1 else 1
    found = store().page(chosen, order, limit=ROWS, offset=(page - 1) * ROWS)
    rows = [
        {
            "photo": shown,
            "case": case.id,
            "probability": None if case.reason in UNJUDGED else case.probability,
            "model says": WORDS[case.verdict],
            "decision": "open" if case.state == State.OPEN else TRUTHS[Truth(case.truth)],
            "file": file_name(case),
            "why": WHY.get(case.why, case.why),
            "shop": case.shop,
            "seller": case.seller,
            "version": case.model_version,
        }
        for case, shown in zip(found, thumbnails(found), strict=True)
    ]
    table: Any = st.dataframe(
        sortable(rows),
        placeholder="",
        key=f"review table {hash((chosen, order, page, found[0].id if found else 0, counted))}",
        height=460,
        row_height=72,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "photo": st.column_config.ImageColumn("photo", width="small"),
            "case": st.column_config.NumberColumn(width=60),
            "probability": st.column_config.NumberColumn("AI probability", width=110),
        },
    )
    selected = [found[index] for index in table.selection.rows if index < len(found)]
    st.caption(f"{len(selected)} selected · {counted} match")
    if len(selected) == 1:
        st.button(f"Open case {selected[0].id}", on_click=show, args=(selected[0].id,))
    st.text_input("Internal note for all selected", key="review bulk note", max_chars=LONGEST_NOTE)
    st.caption(NOTE_HINT)
    buttons(selected, me, "review bulk note", shortcuts=False)
    undo(me)
