"""What the desk is made of; the desk itself is tried in a browser (tests/e2e/test_desk.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from brightness_model import draw

from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.desk.facts import changes, facts
from veriphoto_review.desk.people import progress, reviewer, start_of_day
from veriphoto_review.desk.thumbnails import thumbnails

from .kit import bring, row

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    return CaseStore(Database(f"sqlite:///{tmp_path / 'review.db'}"))


@pytest.mark.parametrize(
    ("header", "headers", "typed", "name"),
    [
        ("", {}, " ann ", "ann"),
        ("", {"X-User": "eve"}, "ann", "ann"),
        ("X-User", {"x-user": "bob"}, "ann", "bob"),
        ("X-User", {}, "ann", ""),
        ("", {}, "a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("", {}, "x" * 200, "x" * 80),
    ],
)
def test_who_decides(header: str, headers: dict[str, str], typed: str, name: str) -> None:
    assert reviewer(header, headers, typed) == name


def test_the_day() -> None:
    assert start_of_day(1_793_836_799.0) == 1_793_750_400.0  # a second before midnight
    assert start_of_day(1_793_836_800.0) == 1_793_836_800.0
    assert progress({"ann": 3, "bob": 2}, "ann", 7) == "Today: 5 decided, 3 of them by you · 7 open"


def test_everything_from_outside_is_escaped(store: CaseStore, tmp_path: Path) -> None:
    answer = row(1, path=HOSTILE, shop=HOSTILE, seller=HOSTILE, reason=HOSTILE)
    answer |= {HOSTILE: HOSTILE, "provenance": {HOSTILE: {"status": "present", "make": HOSTILE}}}
    bring(store.database, tmp_path, [answer])
    (case,) = store.page(Filter())
    store.decide([case.id], Truth.AI, reviewer=HOSTILE, note=HOSTILE)
    shown = facts(store.get(case.id)) + changes(store.history(case.id))
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") >= 7


def test_thumbnails_of_what_there_is(store: CaseStore, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(draw(1))
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    names = ["a.jpg", "b.jpg", "gone.jpg"]
    rows = [row(n, path=str(tmp_path / name), sha256="") for n, name in enumerate(names)]
    bring(store.database, tmp_path, rows)
    cases = store.page(Filter())
    found = {Path(case.reference).name: uri for case, uri in zip(cases, thumbnails(cases), strict=True)}
    assert found["a.jpg"].startswith("data:image/jpeg;base64,")
    assert (found["b.jpg"], found["gone.jpg"]) == ("", "")
