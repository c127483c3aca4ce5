"""What the desk reads once, however often the page runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import streamlit as st

from veriphoto_client.page.app import REVIEW_VARIABLE, gateway
from veriphoto_review.cases.case import Case
from veriphoto_review.cases.evidence import overlay
from veriphoto_review.cases.pictures import claims_of, read_picture
from veriphoto_review.cases.store import CaseStore
from veriphoto_review.database.connection import Database


@st.cache_resource
def store() -> CaseStore:
    """Returns the cases that all visitors share."""
    return CaseStore(Database(os.environ[REVIEW_VARIABLE]))


_BY_NUMBER: Final[dict[str | type[Any], Callable[[Any], Any]]] = {Case: lambda case: case.id}
"""A case's picture does not change with its state."""


@st.cache_data(max_entries=64, ttl=600, show_spinner="Loading ...", hash_funcs=_BY_NUMBER)
def picture(case: Case) -> bytes:
    """Reads a case's picture."""
    return read_picture(case)


@st.cache_data(max_entries=64, ttl=600, show_spinner=False, hash_funcs=_BY_NUMBER)
def claims(case: Case, _data: bytes) -> Mapping[str, Any] | None:
    """Reads what a case's picture claims of its origin."""
    return claims_of(case, _data)


@st.cache_data(max_entries=64, ttl=600, show_spinner="Drawing the evidence ...", hash_funcs=_BY_NUMBER)
def drawn(case: Case, _data: bytes) -> str:
    """Has the evidence drawn."""
    return overlay(case, _data, gateway())
