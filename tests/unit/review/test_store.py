"""The queue: who decides what, and how it is taken back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from veriphoto.errors import UsageError
from veriphoto_review.cases.case import State, Truth
from veriphoto_review.cases.store import DESK, LONGEST_NOTE, CaseStore, Decision, Filter, decide_in
from veriphoto_review.database.connection import Database
from veriphoto_review.desk.search import Search
from veriphoto_review.intake.feedback import FeedbackDesk

from .kit import as_seen, bring, row


@pytest.fixture
def numbers(store: CaseStore, tmp_path: Path) -> list[int]:
    rows = [
        row(1, probability=0.95, shop="north", seen_at=300.0),
        row(2, probability=0.85, shop="south", seen_at=100.0, model_version=2),
        row(3, "unsure", 0.55, threshold=0.5, reason="borderline", seen_at=200.0),
        row(4, "unsure", 0.45, threshold=0.5, reason="too_small", seen_at=400.0),
        row(5, "real", 0.05, seen_at=500.0),
    ]
    bring(store.database, tmp_path, rows, audit_share=1.0)
    return [case.id for case in sorted(store.page(Filter()), key=lambda case: case.sha256)]


def test_filters_and_orders(store: CaseStore, numbers: list[int]) -> None:
    one, two, three, four, five = numbers

    def found(order: str = "score", **wanted: object) -> list[int]:
        return [case.id for case in store.page(Filter(**wanted), order)]  # type: ignore[arg-type]

    assert found() == [one, two, three, four, five]
    assert found("age") == [two, three, one, four, five]
    assert sorted(found("random")) == sorted(numbers)
    assert found(verdict="unsure") == [three, four]
    assert found(reason="too_small") == [four]
    assert found(why="audit") == [five]
    assert found(shop="north") == [one]
    assert found(version=2) == [two]
    assert found(low=0.5, high=0.9) == [two, three]
    assert [case.id for case in store.page(Filter(), limit=2, offset=1)] == [two, three]
    assert store.count(Filter(verdict="unsure")) == 2
    assert store.values("shop") == ["", "north", "south"]


@pytest.mark.parametrize(
    ("which", "truth", "state"),
    [
        (0, Truth.AI, State.CONFIRMED),
        (0, Truth.REAL, State.OVERTURNED),
        (0, Truth.UNKNOWN, State.UNDECIDED),
        (2, Truth.AI, State.CONFIRMED),  # unsure, on the side of AI
        (3, Truth.AI, State.OVERTURNED),  # unsure, on the side of real
        (4, Truth.AI, State.OVERTURNED),
        (4, Truth.REAL, State.CONFIRMED),
    ],
)
def test_a_decision(store: CaseStore, numbers: list[int], which: int, truth: Truth, state: State) -> None:
    decision = store.decide([numbers[which]], truth, reviewer="ann", note="looked")
    assert decision.decided == (numbers[which],)
    case = store.get(numbers[which])
    assert (case.state, case.truth, case.reviewer, case.note, case.channel) == (state, truth, "ann", "looked", "desk")
    assert store.count(Filter(state=State.OPEN)) == 4
    opened, decided = store.history(case.id)
    assert (opened.action, opened.actor) == ("opened", "import")
    assert (decided.action, decided.actor, decided.batch) == ("decided", "ann", decision.batch)
    assert decided.before is not None
    assert decided.after is not None
    assert (decided.before["state"], decided.after["state"]) == ("open", state)


def test_undo_brings_back_what_was_and_the_history_keeps_both(store: CaseStore, numbers: list[int]) -> None:
    first = store.decide(numbers, Truth.AI, reviewer="ann")
    again = store.decide(numbers[:1], Truth.REAL, reviewer="bob", seen=as_seen(store, numbers))
    assert again.decided == (numbers[0],)
    undone = store.undo(first.batch, reviewer="ann")
    assert set(undone.decided) == set(numbers[1:])
    assert undone.skipped == (numbers[0],), "bob's decision stays"
    assert store.count(Filter(state=State.OPEN)) == 4
    assert [change.action for change in store.history(numbers[1])] == ["opened", "decided", "undone"]
    assert store.undo(first.batch, reviewer="ann").decided == (), "not twice"
    store.undo(again.batch, reviewer="bob")
    assert (store.get(numbers[0]).reviewer, store.get(numbers[0]).truth) == ("ann", Truth.AI)


def test_two_people_do_not_overwrite_each_other(store: CaseStore, numbers: list[int]) -> None:
    other = CaseStore(Database(store.database.url))
    made: list[Decision] = []
    people = [("ann", store, Truth.AI), ("bob", other, Truth.REAL)]

    def work(name: str, at: CaseStore, truth: Truth) -> None:
        made.append(at.decide(numbers, truth, reviewer=name))

    threads = [threading.Thread(target=work, args=person) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(each.decided) for each in made) == [0, 5]
    assert len({store.get(number).reviewer for number in numbers}) == 1
    assert all(len(store.history(number)) == 2 for number in numbers)


def test_two_people_before_one_decided_case_do_not_overwrite_each_other(store: CaseStore, numbers: list[int]) -> None:
    store.decide(numbers[:1], Truth.AI, reviewer="ann")
    seen = as_seen(store, numbers[:1])  # by bob and cid alike
    assert store.decide(numbers[:1], Truth.REAL, reviewer="bob", seen=seen).decided == (numbers[0],)
    late = store.decide(numbers[:1], Truth.UNKNOWN, reviewer="cid", seen=seen)
    assert (late.decided, late.skipped, store.get(numbers[0]).reviewer) == ((), (numbers[0],), "bob")
    seen = as_seen(store, numbers[:1])
    store.undo(store.history(numbers[0])[-1].batch, reviewer="bob")
    store.undo(store.history(numbers[0])[1].batch, reviewer="ann")
    assert store.decide(numbers[:1], Truth.REAL, reviewer="cid", seen=seen).skipped == (numbers[0],), "taken back"


def test_feedback_waits_for_a_reviewer_who_is_deciding(store: CaseStore, numbers: list[int]) -> None:
    desk = FeedbackDesk(Database(store.database.url, patience=60.0))
    sha256 = store.get(numbers[0]).sha256
    with ThreadPoolExecutor(1) as pool:
        with store.database.writing() as connection:
            decide_in(connection, numbers[:1], Truth.REAL, reviewer="ann", note="", channel=DESK)
            told = pool.submit(desk.take, kind="sha256", value=sha256, truth="ai_generated", note="", actor="shop")
            with pytest.raises(TimeoutError):
                told.result(1.0)
        assert told.result(60.0).status == "kept"
    assert (store.get(numbers[0]).reviewer, store.get(numbers[0]).truth) == ("ann", Truth.REAL)


def test_names_and_notes_that_are_no_text_are_taken_as_rows_are(store: CaseStore, numbers: list[int]) -> None:
    store.decide(numbers[:1], Truth.REAL, reviewer="a\0b\ud800", note="c\0d\ud800")
    case = store.get(numbers[0])
    assert (case.reviewer, case.note) == ("a\N{REPLACEMENT CHARACTER}b\\ud800", "c\N{REPLACEMENT CHARACTER}d\\ud800")
    FeedbackDesk(store.database).take(kind="sha256", value="f" * 64, truth="real", note="", actor="a\0b\ud800")
    assert store.count(Search(text="no\0thing\ud800")) == 0


def test_many_at_once(store: CaseStore, tmp_path: Path) -> None:
    bring(store.database, tmp_path, [row(number) for number in range(3000)])
    every = [case.id for case in store.page(Filter(), limit=5000)]
    decision = store.decide([*every, 10**9], Truth.AI, reviewer="ann")
    assert (len(decision.decided), decision.skipped) == (3000, (10**9,))
    assert store.decided_since(0.0) == {"ann": 3000}
    assert len(store.undo(decision.batch, reviewer="ann").decided) == 3000
    assert store.decided_since(0.0) == {}


def test_what_is_refused(store: CaseStore, numbers: list[int]) -> None:
    with pytest.raises(UsageError, match="2001 characters"):
        store.decide(numbers, Truth.AI, reviewer="ann", note="x" * (LONGEST_NOTE + 1))
    for number in (99999, 0, -1, 2**63, 10**30):
        with pytest.raises(UsageError, match=f"there is no case {number}"):
            store.get(number)
