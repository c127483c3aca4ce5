"""Who looks at which cases, and where they are; kept in the address and a cookie, so that a reload changes nothing."""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import quote, unquote

import streamlit as st

from veriphoto.environment import Variable
from veriphoto_client.page.words import plain
from veriphoto_review.cases.case import State, Truth
from veriphoto_review.desk.cached import store
from veriphoto_review.desk.facts import TRUTHS, WHY, WORDS
from veriphoto_review.desk.people import reviewer
from veriphoto_review.desk.search import Search

VIEWS: Final = ("One by one", "Queue")
OPEN: Final = Search(state=State.OPEN)
_ORDERS: Final = {"Highest score": "score", "Oldest": "age", "Random": "random"}
_DECISIONS: Final[dict[str, dict[str, Any]]] = {
    "open": {"state": State.OPEN},
    TRUTHS[Truth.REAL]: {"truth": Truth.REAL},
    TRUTHS[Truth.AI]: {"truth": Truth.AI},
    TRUTHS[Truth.UNKNOWN]: {"state": State.UNDECIDED},
    "the model was right": {"state": State.CONFIRMED},
    "the model was wrong": {"state": State.OVERTURNED},
    "all": {},
}
_NAME, _ME, _PLACE = "review name", "review me", "place"
_COOKIE: Final = "veriphoto_reviewer"
_COOKIE_S: Final = 30 * 86400


def who() -> str:
    """Says who is there, and asks where nobody knows."""
    header = os.environ.get(Variable.REVIEWER_HEADER, "")
    if header:
        return reviewer(header, st.context.headers.to_dict(), "")
    known = st.session_state.setdefault(_ME, reviewer("", {}, unquote(st.context.cookies.get(_COOKIE, ""))))
    if known:
        # No field any more that could take the keys that decide.
        st.button(f"You are {plain(known)} · change", on_click=_named, args=("",), type="tertiary")
    else:
        st.text_input("Your name", key=_NAME, placeholder="Your name", label_visibility="collapsed", on_change=_named)
    return f"{known}"


def remember_who() -> None:
    """Has the browser keep the name; to be called last, because it draws nothing."""
    if (name := st.session_state.get(_ME)) is not None:
        kept = f"{_COOKIE}={quote(name)}; path=/; SameSite=Strict; max-age={_COOKIE_S if name else 0}"
        st.html(f"<script>document.cookie = '{kept}'</script>", unsafe_allow_javascript=True)


def _named(name: str | None = None) -> None:
    st.session_state[_ME] = reviewer("", {}, st.session_state.get(_NAME, "") if name is None else name)


def chosen_view() -> str:
    """Lets choose between one case and many."""
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], key="view", required=True, bind="query-params", label_visibility="collapsed"
    )
    return f"{view}"


def chosen_cases() -> tuple[Search, Any]:
    """Lets choose cases and their order."""
    text = st.text_input(
        "Search",
        key="search",
        bind="query-params",
        placeholder="Search all cases: number, seller or file name",
        label_visibility="collapsed",
        on_change=move_to,
    )
    if text:
        st.button("Show all again", on_click=_search, args=("",))
    with st.expander("Order and filters"):
        one, two, three, four = st.columns(4)
        order = one.selectbox("Order", list(_ORDERS), key="order", bind="query-params", on_change=move_to)
        decided = two.selectbox("Decision", list(_DECISIONS), key="decision", bind="query-params", on_change=move_to)
        verdict = _choice(three, "Model says", "verdict", WORDS)
        why = _choice(four, "Why a case", "why", WHY)
        shop = _choice(one, "Shop", "shop", {"": "not named"})
        version = _choice(two, "Version", "model_version", {})
        reason = _choice(three, "Reason", "reason", {"too_small": "too small", "too_degraded": "too compressed"})
        low, high = four.slider(
            "Probability", 0.0, 1.0, (0.0, 1.0), step=0.01, key="probability", bind="query-params", on_change=move_to
        )
    if text:
        return Search(text=text), _ORDERS[order]
    found = Search(
        **_DECISIONS[decided], verdict=verdict, why=why, shop=shop, version=version, reason=reason, low=low, high=high
    )
    return found, _ORDERS[order]


def _choice(place: Any, label: str, column: Any, words: dict[Any, str]) -> Any:
    values = [value for value in store().values(column) if value or column == "shop"]
    options = {"all": None, **{words.get(value, str(value)): value for value in values}}
    return options[place.selectbox(label, list(options), key=column, bind="query-params", on_change=move_to)]


def show(number: int) -> None:
    """Opens one case."""
    _search(f"{number}")
    st.session_state["view"] = VIEWS[0]


def _search(text: str) -> None:
    st.session_state["search"] = text
    move_to()


def place() -> int:
    """Returns how many cases lie before the one that is looked at."""
    if _PLACE not in st.session_state:
        asked = st.query_params.get(_PLACE, "")
        st.session_state[_PLACE] = int(asked) if asked.isdecimal() and len(asked) < 10 else 0
    here = int(st.session_state[_PLACE])
    if here:
        st.query_params[_PLACE] = f"{here}"
    else:
        st.query_params.pop(_PLACE, None)
    return here


def move_to(there: int = 0) -> None:
    """Goes to another case."""
    st.session_state[_PLACE] = max(0, there)
