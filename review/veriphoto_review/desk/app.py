"""The desk, as Streamlit runs it: from top to bottom at every click. Decisions happen in callbacks, before that."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import streamlit as st
from PIL import Image

from veriphoto.decoding import decode
from veriphoto.errors import ImageError, VeriphotoError
from veriphoto_client.page.app import REVIEW_VARIABLE, gateway
from veriphoto_client.page.drawing import overlaid, scale
from veriphoto_client.page.gateway import PageError
from veriphoto_review.cases.case import Case, State, Truth
from veriphoto_review.cases.evidence import overlay
from veriphoto_review.cases.pictures import read_picture
from veriphoto_review.cases.store import LONGEST_NOTE, CaseStore, Filter
from veriphoto_review.database.connection import Database, now
from veriphoto_review.desk.facts import WHY, WORDS, changes, facts
from veriphoto_review.desk.people import HEADER_VARIABLE, progress, reviewer, start_of_day
from veriphoto_review.desk.thumbnails import thumbnails

ROWS: Final = 50
_ORDERS: Final = {"Highest score": "score", "Oldest": "age", "Random": "random"}
_CHOICES: Final = (
    ("Real photo", Truth.REAL, "1"),
    ("AI-generated", Truth.AI, "2"),
    ("Cannot tell", Truth.UNKNOWN, "3"),
)
_VIEWS: Final = ("One by one", "Queue")
_UNDOABLE = 20
_LAST, _FLASH, _SKIPPED = "review last", "review flash", "review skipped"


@st.cache_resource
def store() -> CaseStore:
    """Returns the cases that all visitors share."""
    return CaseStore(Database(os.environ[REVIEW_VARIABLE]))


_BY_NUMBER: Final[dict[str | type[Any], Callable[[Any], Any]]] = {Case: lambda case: case.id}
"""A case's picture does not change with its state."""


@st.cache_data(max_entries=64, ttl=600, show_spinner="Loading ...", hash_funcs=_BY_NUMBER)
def picture(case: Case) -> bytes:
    """Reads a case's picture once, however often the page runs."""
    return read_picture(case)


@st.cache_data(max_entries=64, ttl=600, show_spinner="Drawing the evidence ...", hash_funcs=_BY_NUMBER)
def drawn(case: Case, _data: bytes) -> str:
    """Has the evidence drawn once."""
    return overlay(case, _data, gateway())


def main() -> None:
    """Draws the desk."""
    st.html("<style>.stMainBlockContainer {padding-top: 5rem}</style>")
    try:
        _desk()
    except VeriphotoError as error:
        st.error(error.message, icon="⚠️")


def _desk() -> None:
    words, name, views = st.columns([4, 3, 3], vertical_alignment="bottom")
    with name:
        me = _who()
    counts = store().decided_since(start_of_day(now()))
    words.markdown(progress(counts, me, store().count(Filter(state=State.OPEN))))
    view = views.segmented_control("View", _VIEWS, default=_VIEWS[0], label_visibility="collapsed") or _VIEWS[0]
    chosen, order = _filters()
    counted = store().count(chosen)
    if flash := st.session_state.pop(_FLASH, None):
        (st.success if flash[0] else st.warning)(flash[1])
    if not me:
        st.info("Say who you are to decide cases.")
    if not counted:
        st.markdown("No cases match." if chosen != Filter(state=State.OPEN) else "No open cases. Well done.")
        _undo(me)
    elif view == _VIEWS[0]:
        _one_by_one(chosen, order, counted, me)
    else:
        _queue(chosen, order, counted, me)


def _who() -> str:
    header = os.environ.get(HEADER_VARIABLE, "")
    if header:
        return reviewer(header, st.context.headers.to_dict(), "")
    typed = st.text_input("Your name", key="review name", placeholder="Your name", label_visibility="collapsed")
    return reviewer("", {}, typed)


def _filters() -> tuple[Filter, Any]:
    with st.expander("Order and filters"):
        one, two, three, four = st.columns(4)
        order = one.selectbox("Order", list(_ORDERS))
        state = two.selectbox("State", [*State, "all"])
        verdict = _choice(three, "Model says", store().values("verdict"), WORDS)
        why = _choice(four, "Why a case", store().values("why"), WHY)
        shop = _choice(one, "Shop", store().values("shop"), {"": "not named"})
        version = _choice(two, "Version", store().values("model_version"), {})
        reason = _choice(three, "Reason", [value for value in store().values("reason") if value], {})
        low, high = four.slider("Probability", 0.0, 1.0, (0.0, 1.0), step=0.01)
    wanted = None if state == "all" else State(state)
    chosen = Filter(
        state=wanted, verdict=verdict, why=why, shop=shop, version=version, reason=reason, low=low, high=high
    )
    return chosen, _ORDERS[order]


def _choice(place: Any, label: str, values: Sequence[Any], words: dict[Any, str]) -> Any:
    return place.selectbox(label, [None, *values], format_func=lambda v: "all" if v is None else words.get(v, str(v)))


def _one_by_one(chosen: Filter, order: Any, counted: int, me: str) -> None:
    skipped = st.session_state.setdefault(_SKIPPED, 0)
    place = min(skipped, counted - 1)
    (case, *_) = [*store().page(chosen, order, limit=1, offset=place), None]
    if case is None:
        st.rerun()
    words, photo = st.columns([2, 3], gap="large")
    with words:
        # Buttons first: they must be in sight whatever a case has to say.
        note = f"review note {case.id}"
        st.caption(f"{place + 1} of {counted}")
        _buttons([case.id], me, note, shortcuts=True, again=case.state != State.OPEN)
        back, ahead = st.columns(2)
        back.button("Back", on_click=_move, args=(-1,), disabled=not place, width="stretch", shortcut="Left")
        last = place + 1 >= counted
        ahead.button("Skip", on_click=_move, args=(1,), disabled=last, width="stretch", shortcut="Right")
        _undo(me)
        band = (case.unsure_low, case.unsure_high)
        if case.threshold is not None and None not in band:
            st.html(scale(case.probability, case.threshold, band))  # type: ignore[arg-type]
        st.text_area("Note", key=note, max_chars=LONGEST_NOTE, height=80)
        st.html(facts(case))
        with st.expander("History"):
            st.html(changes(store().history(case.id)))
    with photo:
        _photo(case)


def _photo(case: Case) -> None:
    try:
        data = picture(case)
        shown: Image.Image = decode(data).image
    except ImageError as error:
        st.warning(f"{error.message[:1].upper()}{error.message[1:]}.")
        return
    strength = st.slider("Evidence over the photo", 0, 100, 0, format="%d %%", key="review evidence")
    if strength:
        try:
            shown = overlaid(data, drawn(case, data), strength / 100)
        except PageError as error:
            st.caption(str(error))
    st.image(shown, width="stretch")
    if strength:
        st.caption("Red speaks for AI, blue for a camera. The map shows where, not why.")


def _queue(chosen: Filter, order: Any, counted: int, me: str) -> None:
    pages = (counted + ROWS - 1) // ROWS
    page = st.number_input(f"Page, of {pages}", 1, pages, 1) if pages > 1 else 1
    found = store().page(chosen, order, limit=ROWS, offset=(page - 1) * ROWS)
    rows = [
        {
            "photo": shown,
            "probability": case.probability,
            "model says": WORDS[case.verdict],
            "why": case.why,
            "state": case.state,
            "shop": case.shop,
            "seller": case.seller,
            "version": case.model_version,
            "picture": case.reference,
        }
        for case, shown in zip(found, thumbnails(found), strict=True)
    ]
    table: Any = st.dataframe(
        rows,
        key=f"review table {hash((chosen, order, page, found[0].id if found else 0, counted))}",
        height=460,
        row_height=72,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "photo": st.column_config.ImageColumn("photo", width="small"),
            "probability": st.column_config.ProgressColumn(
                "AI probability", min_value=0, max_value=1, format="percent"
            ),
        },
    )
    numbers = [found[index].id for index in table.selection.rows if index < len(found)]
    st.caption(f"{len(numbers)} selected · {counted} match")
    st.text_input("Note for all selected", key="review bulk note", max_chars=LONGEST_NOTE)
    _buttons(numbers, me, "review bulk note", shortcuts=False, again=chosen.state is not State.OPEN)
    _undo(me)


def _buttons(numbers: list[int], me: str, note: str, *, shortcuts: bool, again: bool) -> None:
    # Beside a photo there is no room for three labels in a row on a tablet.
    places: Sequence[Any] = [st] * len(_CHOICES) if shortcuts else st.columns(len(_CHOICES))
    for place, (label, truth, key) in zip(places, _CHOICES, strict=True):
        place.button(
            label,
            key=f"review {key}",
            on_click=_guarded,
            args=(_decide, numbers, truth, me, note, again),
            disabled=not (numbers and me),
            shortcut=key if shortcuts else None,
            width="stretch",
        )


def _undo(me: str) -> None:
    if _last():
        st.button("Undo", on_click=_guarded, args=(_take_back, me), disabled=not me, shortcut="U", width="stretch")


def _last() -> list[str]:
    batches: list[str] = st.session_state.setdefault(_LAST, [])
    return batches


def _guarded(action: Callable[..., None], *arguments: Any) -> None:
    try:
        action(*arguments)
    except VeriphotoError as error:
        st.session_state[_FLASH] = (False, error.message)


def _decide(numbers: list[int], truth: Truth, me: str, note: str, again: bool) -> None:
    # Streamlit may stop a callback wherever it touches the session, when the next key is pressed. So the list is at
    # hand before the decision is stored, and nothing lies between the two: whatever is stored can be taken back.
    last = _last()
    # Read here and not when the button was drawn: a key may follow the note before the page is drawn again.
    text = st.session_state.get(note, "").strip()
    decision = store().decide(numbers, truth, reviewer=me, note=text, again=again)
    if decision.decided:
        last.append(decision.batch)
        del last[:-_UNDOABLE]
    if decision.skipped:
        gone = len(decision.skipped)
        st.session_state[_FLASH] = (False, f"{gone} left alone: somebody else had decided by then, or they are gone.")
    elif len(numbers) > 1:
        st.session_state[_FLASH] = (True, f"{len(numbers)} decided.")


def _take_back(me: str) -> None:
    last = _last()
    if not last:  # the key was pressed twice
        return
    undone = store().undo(last[-1], reviewer=me)
    last.pop()
    words = f"{len(undone.decided)} taken back."
    if undone.skipped:
        words += f" {len(undone.skipped)} stay: somebody has decided them again."
    st.session_state[_FLASH] = (not undone.skipped, words)


def _move(steps: int) -> None:
    st.session_state[_SKIPPED] = max(0, st.session_state.get(_SKIPPED, 0) + steps)
