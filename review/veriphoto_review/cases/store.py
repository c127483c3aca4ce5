"""The queue: find cases, decide them, take decisions back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, and_, bindparam, false, func, insert, not_, or_, select, true, update

from veriphoto.contract import ANONYMOUS
from veriphoto.errors import UsageError
from veriphoto_review.cases.case import Case, State, Truth, state_of
from veriphoto_review.database.connection import Database, clean, now
from veriphoto_review.database.schema import cases, history

Order = Literal["score", "age", "random"]
_CHANGED: Final = ("state", "truth", "channel", "reviewer", "note", "decided_at")
_AT_A_TIME: Final = 500
"""Numbers in one IN: SQLite takes no more than some thousand values."""
_LARGEST: Final = 2**63 - 1
"""The largest number that a database takes for a case's."""
LONGEST_NOTE: Final = 2000
NOT_DECIDED: Final[Mapping[int, float | None]] = MappingProxyType({})
"""Of cases that are all seen as open."""
DESK: Final = "desk"
"""Channel of decisions that people make here; other channels give way to them."""
_REPORTED: Final = "reported"
_ON_TOP: Final = and_(
    cases.c.state == State.OPEN,
    cases.c.id.in_(select(history.c.case_id).where(history.c.actor == ANONYMOUS, history.c.action == _REPORTED)),
)
"""Open cases that somebody without a name has reported: they come first in every order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Selects cases; a field that is None selects all."""

    state: State | None = None
    verdict: str | None = None
    why: str | None = None
    shop: str | None = None
    version: int | None = None
    reason: str | None = None
    low: float = 0.0
    high: float = 1.0

    def condition(self) -> ColumnElement[bool]:
        """Returns it in SQL."""
        wanted = {
            cases.c.state: self.state,
            cases.c.verdict: self.verdict,
            cases.c.why: self.why,
            cases.c.shop: self.shop,
            cases.c.model_version: self.version,
            cases.c.reason: self.reason,
        }
        parts = [column == value for column, value in wanted.items() if value is not None]
        if self.low > 0.0:
            parts.append(cases.c.probability >= self.low)
        if self.high < 1.0:
            parts.append(cases.c.probability <= self.high)
        return and_(true(), *parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Result of a decision."""

    batch: str
    """Names it, to take it back."""
    decided: tuple[int, ...]
    skipped: tuple[int, ...] = ()
    """Cases that are gone, or that somebody else had decided, or taken back, by then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One row of the history."""

    at: float
    actor: str
    action: str
    batch: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class CaseStore:
    """The cases of a database."""

    def __init__(self, database: Database) -> None:
        """Takes a database.

        Args:
            database: Open, at the newest schema.
        """
        self.database: Final = database

    def count(self, chosen: Filter) -> int:
        """Returns how many cases there are."""
        with self.database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(cases).where(chosen.condition())) or 0

    def page(self, chosen: Filter, order: Order = "score", *, limit: int = 50, offset: int = 0) -> list[Case]:
        """Returns some cases; open ones that somebody has reported come first.

        Args:
            chosen: Filter for the cases.
            order: ``score`` highest first, ``age`` oldest first, ``random`` as drawn.
            limit: How many.
            offset: How many to leave out before.
        """
        ordered = {
            "score": (cases.c.probability.desc(), cases.c.id.desc()),
            "age": (cases.c.seen_at, cases.c.id),
            "random": (cases.c.draw, cases.c.id),
        }[order]
        wanted = select(cases).where(chosen.condition()).order_by(*ordered)
        counted = select(func.count()).select_from(cases).where(chosen.condition(), _ON_TOP)
        with self.database.reading() as connection:
            top = connection.scalar(counted) or 0
            found = connection.execute(wanted.where(_ON_TOP).limit(limit).offset(offset)).all() if offset < top else []
            rest = wanted.where(not_(_ON_TOP)).limit(limit - len(found)).offset(max(0, offset - top))
            return [Case.of(row) for row in [*found, *connection.execute(rest)]]

    def every(self, chosen: Filter) -> Iterator[Case]:
        """Yields all cases of a filter by number, a few hundred in memory at a time.

        Args:
            chosen: Filter for the cases.
        """
        last = 0
        while True:
            condition = and_(chosen.condition(), cases.c.id > last)
            query = select(cases).where(condition).order_by(cases.c.id).limit(_AT_A_TIME)
            with self.database.reading() as connection:
                found = [Case.of(row) for row in connection.execute(query)]
            if not found:
                return
            yield from found
            last = found[-1].id

    def get(self, number: int) -> Case:
        """Returns one case.

        Raises:
            UsageError: If there is none of this number.
        """
        row = None
        if 0 < number <= _LARGEST:
            with self.database.reading() as connection:
                row = connection.execute(select(cases).where(cases.c.id == number)).one_or_none()
        if row is None:
            raise UsageError(f"there is no case {number}; it was forgotten, or is of another database")
        return Case.of(row)

    def named(self, reference: str) -> Case:
        """Returns the case of a photo.

        Args:
            reference: Path, URI or id of the photo.

        Raises:
            UsageError: If there is none, or more than one.
        """
        query = select(cases).where(called(clean(reference))).order_by(cases.c.id)
        with self.database.reading() as connection:
            found = [Case.of(row) for row in connection.execute(query)]
        if len(found) > 1:
            numbers = ", ".join(str(case.id) for case in found)
            raise UsageError(f"{reference} has {len(found)} cases: {numbers}; name one by its number")
        if not found:
            raise UsageError(f"there is no case of {reference}; name it as it was imported")
        return found[0]

    def values(self, column: Literal["shop", "model_version", "why", "verdict", "reason"]) -> list[Any]:
        """Returns what a column holds, for a choice of filters."""
        with self.database.reading() as connection:
            return list(connection.scalars(select(cases.c[column]).distinct().order_by(cases.c[column])))

    def history(self, number: int) -> list[Change]:
        """Returns what happened to a case, oldest first."""
        columns = [history.c[name] for name in ("at", "actor", "action", "batch", "before", "after")]
        query = select(*columns).where(history.c.case_id == number).order_by(history.c.id)
        with self.database.reading() as connection:
            return [Change(**row._mapping) for row in connection.execute(query)]

    def decide(
        self,
        numbers: Sequence[int],
        truth: Truth,
        *,
        reviewer: str,
        note: str = "",
        channel: str = DESK,
        seen: Mapping[int, float | None] = NOT_DECIDED,
    ) -> Decision:
        """Decides cases, all in one transaction.

        Args:
            numbers: Numbers of the cases.
            truth: What the picture is, as the reviewer decides.
            reviewer: Name of the person who decides.
            note: Why; part of the dispute report.
            channel: Way by which the decision came in: the desk, or the name of another tool.
            seen: When each case was decided, as the reviewer sees it; nothing for one that is open. A case that stands
                otherwise by now is skipped, so that two people with the same case before them do not overwrite each
                other.

        Returns:
            What was decided and what was not.

        Raises:
            UsageError: If the note is too long.
            DatabaseError: If the database refuses; no case is decided then.
        """
        if len(note) > LONGEST_NOTE:
            raise UsageError(f"the note has {len(note)} characters; {LONGEST_NOTE} are allowed")
        with self.database.writing() as connection:
            return decide_in(connection, numbers, truth, reviewer=reviewer, note=note, channel=channel, seen=seen)

    def undo(self, batch: str, *, reviewer: str) -> Decision:
        """Takes a decision back; cases that somebody has decided again since then keep that.

        Args:
            batch: Of the ``Decision``.
            reviewer: Who takes it back.

        Raises:
            DatabaseError: If the database refuses; nothing is taken back then.
        """
        with self.database.writing() as connection:
            changed = connection.execute(
                select(history.c.case_id, history.c.id, history.c.before).where(history.c.batch == batch)
            ).all()
            newest = _newest(connection, [row.case_id for row in changed])
            last = [row for row in changed if newest.get(row.case_id) == row.id and row.before]
            fresh = uuid.uuid4().hex
            present = {case.id: case for case in _cases(connection, [row.case_id for row in last])}
            writes = [(present[row.case_id], row.before) for row in last if row.case_id in present]
            _write(connection, writes, reviewer, "undone", fresh)
        done = tuple(case.id for case, _ in writes)
        skipped = tuple(row.case_id for row in changed if row.case_id not in set(done))
        return Decision(batch=fresh, decided=done, skipped=skipped)

    def decided_since(self, moment: float) -> dict[str, int]:
        """Returns how many cases each reviewer has decided since a moment."""
        query = (
            select(cases.c.reviewer, func.count())
            .where(cases.c.decided_at >= moment, cases.c.state != State.OPEN)
            .group_by(cases.c.reviewer)
        )
        with self.database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def decide_in(
    connection: Connection,
    numbers: Sequence[int],
    truth: Truth,
    *,
    reviewer: str,
    note: str,
    channel: str,
    seen: Mapping[int, float | None] = NOT_DECIDED,
) -> Decision:
    """Decides cases in a transaction of the caller's; see ``CaseStore.decide``."""
    batch, moment = uuid.uuid4().hex, now()
    reviewer, note = clean(reviewer), clean(note)  # names and notes come from other tools and from browsers
    found = _cases(connection, numbers)
    chosen = [case for case in found if case.decided_at == seen.get(case.id)]
    after = {"truth": truth.value, "channel": channel, "reviewer": reviewer, "note": note, "decided_at": moment}
    writes = [(case, {**after, "state": state_of(truth, case.prediction).value}) for case in chosen]
    _write(connection, writes, reviewer, "decided", batch)
    decided = tuple(case.id for case in chosen)
    skipped = tuple(number for number in numbers if number not in set(decided))
    return Decision(batch=batch, decided=decided, skipped=skipped)


def report_in(connection: Connection, numbers: Sequence[int], truth: Truth, *, note: str) -> tuple[int, ...]:
    """Notes in the history of cases that somebody without a name has reported them; the same truth again is nothing.

    Args:
        connection: To the database.
        numbers: Numbers of open cases.
        truth: What the photo is, as it was reported.
        note: Why.

    Returns:
        The cases whose history had no such report.
    """
    reports = select(history.c.case_id, history.c.after).where(
        history.c.case_id.in_(numbers), history.c.actor == ANONYMOUS, history.c.action == _REPORTED
    )
    known = {row.case_id for row in connection.execute(reports) if row.after["truth"] == truth.value}
    fresh = tuple(number for number in numbers if number not in known)
    said = "real" if truth is Truth.REAL else "AI-generated"
    after = {"state": State.OPEN.value, "truth": truth.value, "note": f"{said}, {note}" if note else said}
    line = {"at": now(), "actor": ANONYMOUS, "action": _REPORTED, "batch": uuid.uuid4().hex, "before": None}
    if fresh:
        connection.execute(insert(history), [{**line, "after": after, "case_id": number} for number in fresh])
    return fresh


def called(reference: str) -> ColumnElement[bool]:
    """Returns the condition for cases of a photo by its path, URI or id; a row may have brought both."""
    return or_(cases.c.reference == reference, cases.c.extra["path"].as_string() == reference)


def matching(connection: Connection, kind: str, value: str) -> list[Case]:
    """Returns the cases of a picture, which nobody else can change until the transaction ends.

    Args:
        connection: To the database, inside a transaction that writes.
        kind: ``request_id``, ``sha256`` or ``reference``.
        value: Value of that field.
    """
    condition = cases.c[kind] == value if value else false()
    query = select(cases).where(condition).order_by(cases.c.id).with_for_update()
    return [Case.of(row) for row in connection.execute(query)]


def _cases(connection: Connection, numbers: Sequence[int]) -> list[Case]:
    found: list[Case] = []
    for start in range(0, len(numbers), _AT_A_TIME):
        query = select(cases).where(cases.c.id.in_(numbers[start : start + _AT_A_TIME])).order_by(cases.c.id)
        found += [Case.of(row) for row in connection.execute(query.with_for_update())]
    return found


def _newest(connection: Connection, numbers: Sequence[int]) -> dict[int, int]:
    newest: dict[int, int] = {}
    for start in range(0, len(numbers), _AT_A_TIME):
        query = (
            select(history.c.case_id, func.max(history.c.id))
            .where(history.c.case_id.in_(numbers[start : start + _AT_A_TIME]))
            .group_by(history.c.case_id)
        )
        newest |= {row[0]: row[1] for row in connection.execute(query)}
    return newest


def _write(
    connection: Connection, writes: Sequence[tuple[Case, Mapping[str, Any]]], actor: str, action: str, batch: str
) -> None:
    moment = now()
    lines = [
        {
            "case_id": case.id,
            "at": moment,
            "actor": actor,
            "action": action,
            "batch": batch,
            "before": {name: getattr(case, name) for name in _CHANGED},
            "after": dict(after),
        }
        for case, after in writes
    ]
    if lines:
        changes = [{"number": case.id, **after} for case, after in writes]
        changed = update(cases).where(cases.c.id == bindparam("number"))
        connection.execute(changed.values({name: bindparam(name) for name in _CHANGED}), changes)
        connection.execute(insert(history), lines)
