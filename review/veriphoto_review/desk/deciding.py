"""The buttons that decide. Decisions happen in callbacks, before the page is drawn again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import streamlit as st

from veriphoto.errors import VeriphotoError
from veriphoto_client.page.words import plain
from veriphoto_review.cases.case import Case, State, Truth
from veriphoto_review.desk.cached import store
from veriphoto_review.desk.facts import TRUTHS

NOTE_HINT: Final = "Stays inside, unless the report is made with `--with-note`."
_KEYS: Final = {Truth.REAL: "1", Truth.AI: "2", Truth.UNKNOWN: "3"}
_AS: Final = {Truth.REAL: "real", Truth.AI: "AI-generated", Truth.UNKNOWN: "“cannot tell”"}
_UNDOABLE = 20
_LAST, _FLASH = "review last", "review flash"


def message() -> None:
    """Says what became of the last click."""
    if flash := st.session_state.pop(_FLASH, None):
        (st.success if flash[0] else st.warning)(flash[1])


def buttons(cases: Sequence[Case], me: str, note: str, *, shortcuts: bool) -> None:
    """Draws the buttons that decide.

    Args:
        cases: The cases, as they are shown.
        me: Who decides; empty where nobody may.
        note: Key of the note's field.
        shortcuts: Whether keys press them.
    """
    seen = {case.id: case.decided_at for case in cases}
    # Beside a photo there is no room for three labels in a row on a tablet.
    places: Sequence[Any] = [st] * len(_KEYS) if shortcuts else st.columns(len(_KEYS))
    for spot, (truth, key) in zip(places, _KEYS.items(), strict=True):
        spot.button(
            TRUTHS[truth],
            key=f"review {key}",
            on_click=_guarded,
            args=(_decide, seen, truth, me, note),
            disabled=not (seen and me),
            shortcut=key if shortcuts else None,
            width="stretch",
        )


def undo(me: str) -> None:
    """Draws the button that takes the last decision back, where there is one."""
    if _last():
        st.button("Undo", on_click=_guarded, args=(_take_back, me), disabled=not me, shortcut="U", width="stretch")


def _last() -> list[str]:
    batches: list[str] = st.session_state.setdefault(_LAST, [])
    return batches


def _guarded(action: Callable[..., None], *arguments: Any) -> None:
    try:
        action(*arguments)
    except VeriphotoError as error:
        st.session_state[_FLASH] = (False, plain(error.message))


def _decide(seen: Mapping[int, float | None], truth: Truth, me: str, note: str) -> None:
    # Streamlit may stop a callback wherever it touches the session, when the next key is pressed. So the list is at
    # hand before the decision is stored, and nothing lies between the two: whatever is stored can be taken back.
    last = _last()
    # Read here and not when the button was drawn: a key may follow the note before the page is drawn again.
    text = st.session_state.get(note, "").strip()
    decision = store().decide(list(seen), truth, reviewer=me, note=text, seen=seen)
    if decision.decided:
        last.append(decision.batch)
        del last[:-_UNDOABLE]
    done = f"{len(decision.decided)} decided as {_AS[truth]}."
    if decision.skipped and len(seen) == 1:
        other = store().get(decision.skipped[0])
        words = f"{other.reviewer} has just decided this case: {TRUTHS[Truth(other.truth)]}."
        if other.state == State.OPEN:
            words = "Somebody has just taken the decision of this case back."
        st.session_state[_FLASH] = (False, plain(words))
    elif decision.skipped:
        gone = len(decision.skipped)
        words = f"{done} {gone} left alone: they are gone, or somebody else had decided them or taken that back."
        st.session_state[_FLASH] = (False, words)
    elif len(seen) > 1:
        st.session_state[_FLASH] = (True, done)


def _take_back(me: str) -> None:
    last = _last()
    if not last:  # the key was pressed twice
        return
    undone = store().undo(last[-1], reviewer=me)
    last.pop()
    count = len(undone.decided)
    done = f"Case {undone.decided[0]}: the decision is" if count == 1 else f"{count} decisions are"
    words = f"{done} taken back."
    if undone.skipped:
        words += f" {len(undone.skipped)} stay: somebody has decided them again."
    st.session_state[_FLASH] = (not undone.skipped, words)
