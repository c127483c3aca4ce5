"""What the desk is made of; the desk itself is tried in a browser (tests/e2e/test_desk.py)."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from brightness_model import draw
from PIL import Image

from veriphoto_client.metadata.provenance import UNKNOWN, inspect
from veriphoto_review.cases.case import State, Truth
from veriphoto_review.cases.pictures import claims_of, read_picture
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.desk.facts import changes, decision, facts, technical
from veriphoto_review.desk.people import progress, reviewer, start_of_day
from veriphoto_review.desk.search import Search
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
    answer |= {HOSTILE: HOSTILE, "provenance": {"camera": {"status": "present", "make": HOSTILE}}}
    bring(store.database, tmp_path, [answer])
    (case,) = store.page(Filter())
    store.decide([case.id], Truth.AI, reviewer=HOSTILE, note=HOSTILE)
    decided = store.get(case.id)
    claims = claims_of(decided, b"")
    shown = facts(decided, claims) + technical(decided, claims) + changes(store.history(case.id))
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


def test_a_case_is_found_by_number_seller_and_file(store: CaseStore, tmp_path: Path) -> None:
    rows = [row(n, path=f"/shop/item_{n}.jpg", seller=f"Seller {n}") for n in (20, 21, 22)]
    bring(store.database, tmp_path, rows)
    by_file = {case.reference[-6:-4]: case.id for case in store.page(Filter())}
    assert set(by_file.values()) == {1, 2, 3}

    def found(text: str) -> set[int]:
        return {case.id for case in store.page(Search(text=text))}

    assert found("2") == found("#2") == found(" case 2 ") == {2}, "a number that a case has is that case"
    assert found("22") == found("ITEM_22.") == found("seller 22") == {by_file["22"]}, "other numbers are parts of names"
    assert found("item%22") == found("itemX22") == set(), "nothing in a text has a meaning of its own"
    assert found("") == {1, 2, 3}


def test_decisions_are_found_by_the_buttons_words(store: CaseStore, tmp_path: Path) -> None:
    bring(store.database, tmp_path, [row(n) for n in (1, 2)])
    first, second = (case.id for case in store.page(Filter()))
    store.decide([first], Truth.REAL, reviewer="ann")
    assert [case.id for case in store.page(Search(truth=Truth.REAL))] == [first]
    assert store.count(Search(truth=Truth.AI)) == 0
    assert [case.id for case in store.page(Search(state=State.OPEN))] == [second]


@pytest.mark.parametrize(
    ("truth", "state", "verdict", "words"),
    [
        ("ai_generated", "overturned", "real", "ann: AI-generated; the model was wrong"),
        ("real", "confirmed", "real", "ann: Real photo; the model was right"),
        ("real", "overturned", "unsure", "ann: Real photo; the model was unsure"),
        ("", "undecided", "unsure", "ann: Cannot tell"),
    ],
)
def test_a_decision_is_a_sentence(truth: str, state: str, verdict: str, words: str) -> None:
    assert decision("ann", truth, state, verdict) == words


def test_a_photo_that_was_not_judged_has_no_score(store: CaseStore, tmp_path: Path) -> None:
    bring(store.database, tmp_path, [row(1, verdict="unsure", reason="too_small", probability=0.43)])
    (case,) = store.page(Filter())
    assert "too small to judge" in facts(case, None)
    assert "43" not in facts(case, None)


def photo_of(make: str) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x010F], exif[0x0110] = make, "iPhone 15"
    Image.open(io.BytesIO(draw(1))).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_metadata_are_read_from_the_photo_of_a_case_that_came_without(store: CaseStore, tmp_path: Path) -> None:
    """A scan's CSV has none; what the gateway's answers had counts, and a photo that is gone is said to be."""
    (tmp_path / "a.jpg").write_bytes(photo_of("Apple"))
    given = {"camera": {"status": "present", "make": "Acme"}, "complete": True}
    rows = [row(1, path=str(tmp_path / "a.jpg"), sha256=""), row(2, provenance=given)]
    bring(store.database, tmp_path, rows)
    plain, known = sorted(store.page(Filter()), key=lambda case: bool(case.provenance))
    found = claims_of(plain, read_picture(plain))
    assert found == inspect(photo_of("Apple")).to_json(), "as the gateway reads it"
    assert "The file names a camera: Apple iPhone 15." in facts(plain, found)
    assert "make: Apple, model: iPhone 15" in technical(plain, found)
    assert claims_of(known, photo_of("Apple")) == given
    assert claims_of(plain, b"") is None
    assert "Not known: the photo is not at hand." in facts(plain, None)


def test_metadata_that_take_too_long_are_given_up(
    store: CaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(store.database, tmp_path, [row(1)])
    (case,) = store.page(Filter())
    monkeypatch.setattr("veriphoto_review.cases.pictures._METADATA_S", 0.0)
    assert claims_of(case, photo_of("Apple") + bytes(1_000_000)) == UNKNOWN.to_json()
