"""Brings answers into the database: streamed, each once, whatever is imported twice or killed in between."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Table, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from veriphoto.contract import ANONYMOUS
from veriphoto.errors import ImageError, UsageError
from veriphoto_review.cases.case import State, Truth, Why
from veriphoto_review.cases.pictures import keep, read_at
from veriphoto_review.cases.rule import becomes, draw
from veriphoto_review.cases.store import decide_in, report_in
from veriphoto_review.database.connection import Database, clean, now
from veriphoto_review.database.schema import cases, feedback, history, seen, tallies
from veriphoto_review.defaults import AUDIT_SHARE
from veriphoto_review.intake.files import Batch
from veriphoto_review.intake.rows import Answer, details, read_answer

_SHOWN: Final = 20
KINDS: Final = ("request_id", "sha256", "reference")
"""By what a truth may name its picture."""
ACTOR: Final = "import"
_AT_A_TIME: Final = 500
"""Values in one IN: SQLite takes no more than some thousand."""
_Value = TypeVar("_Value")
_READERS: Final = 8
"""Stores of objects answer slowly."""


@dataclass(kw_only=True)
class Imported:
    """What an import did."""

    rows: int = 0
    new: int = 0
    known: int = 0
    """Rows that an earlier import has brought."""
    failed: int = 0
    """Files that the scan could not score: no answer, no case."""
    bad: int = 0
    cases: Counter[str] = field(default_factory=Counter)
    """New cases, by why."""
    complaints: list[str] = field(default_factory=list)
    """Of the first bad rows."""

    def summary(self) -> str:
        """Says it in a line."""
        found = ", ".join(f"{count} {why}" for why, count in sorted(self.cases.items())) or "none"
        return (
            f"{self.rows} rows: {self.new} new, {self.known} known, {self.failed} not scored, {self.bad} not understood"
            f"; new cases: {found}"
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """What was read of a picture."""

    sha256: str = ""
    copy: str = ""
    """Path of the copy that was kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """How rows are taken."""

    audit_share: float = AUDIT_SHARE
    """Share of what was called real that becomes a case."""
    shop: str = ""
    """Of rows that name none."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column's name -> ours."""
    keep_pictures: Path | None = None
    """Folder for copies of the pictures of new cases; None keeps none."""


def import_batches(
    database: Database,
    found: Iterable[Batch],
    options: ImportOptions,
    progress: Callable[[Imported], None] = lambda _: None,
) -> Imported:
    """Imports rows, a transaction for each batch.

    Args:
        database: To bring them into.
        found: The rows.
        options: Which rows become cases, and what is kept.
        progress: Told after each batch.

    Returns:
        What was done.

    Raises:
        DatabaseError: If the database refuses; the batches before are in it, and importing again goes on.
        UsageError: If a copy of a picture cannot be kept; the same holds then.
    """
    total = Imported()
    started = now()
    with database.held():
        for batch in found:
            answers = _read(batch, options, total, started)
            _stamp(database, answers.values())
            pictures = _look(database, answers, options)
            with database.writing() as connection:
                _take(connection, answers, pictures, options, total)
            progress(total)
    return total


def _read(batch: Batch, options: ImportOptions, total: Imported, started: float) -> dict[bytes, Answer]:
    answers: dict[bytes, Answer] = {}
    for number, row in enumerate(batch.rows, batch.first):
        total.rows += 1
        try:
            answer = read_answer(row, options.columns, options.shop, batch.written or started)
        except ValueError as error:
            total.bad += 1
            if len(total.complaints) < _SHOWN:
                total.complaints.append(f"{batch.name}, row {number}: {error}")
            continue
        if answer is None:
            total.failed += 1
        elif answer.key in answers:
            total.known += 1
        else:
            answers[answer.key] = answer
    return answers


def _stamp(database: Database, answers: Iterable[Answer]) -> None:
    """Gives answers that were noted without their stamp the key with it, so that they do not count again."""
    keys = {each.key_without_stamp: each.key for each in answers if each.key != each.key_without_stamp}
    found: list[bytes] = []
    with database.reading() as connection:
        for some in _portions(list(keys)):
            found += map(bytes, connection.scalars(select(seen.c.key).where(seen.c.key.in_(some))))
    if not found:
        return
    with database.writing() as connection:
        stamped = [{"key": key} for key in sorted(keys[key] for key in found)]
        connection.execute(upsert(connection, seen).on_conflict_do_nothing(), stamped)
        for some in _portions(found):
            connection.execute(delete(seen).where(seen.c.key.in_(some)))


def _look(database: Database, answers: Mapping[bytes, Answer], options: ImportOptions) -> dict[bytes, Picture]:
    """Reads the pictures of new cases whose sha256 is not known or that are to be kept, while the database is free."""
    lacking = {key: each for key, each in answers.items() if options.keep_pictures or not each.sha256}
    if not lacking:
        return {}
    with database.reading() as connection:
        told = _told(connection, list(lacking.values()), {})
        keys = [key for key, each in lacking.items() if key in told or _why(each, options)]
        for some in _portions(keys):
            known = select(seen.c.key).where(seen.c.key.in_(some))
            for key in connection.scalars(known):
                del lacking[bytes(key)]
    keys = [key for key in keys if key in lacking]
    with ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(partial(_picture, folder=options.keep_pictures), [lacking[key] for key in keys])
        return dict(zip(keys, found, strict=True))


def _picture(answer: Answer, folder: Path | None) -> Picture:
    """Reads a picture, where it still is the one that was scored."""
    if not answer.place:
        return Picture()
    try:
        data = read_at(answer.place, answer.sha256)
    except ImageError:
        return Picture()
    try:
        copy = str(keep(folder, data).resolve()) if folder else ""
    except OSError as error:
        raise UsageError(
            f"{folder} cannot keep pictures: {error.strerror}; make room or name another folder, and import again"
        ) from error
    return Picture(hashlib.sha256(data).hexdigest(), copy)


def _why(answer: Answer, options: ImportOptions) -> Why | None:
    return becomes(answer.verdict, draw(answer.sha256 or answer.reference), options.audit_share)


def _take(
    connection: Connection,
    answers: Mapping[bytes, Answer],
    pictures: Mapping[bytes, Picture],
    options: ImportOptions,
    total: Imported,
) -> None:
    if not answers:
        return
    # In one order, so that two imports at a time wait for each other instead of for ever.
    keys = [{"key": key} for key in sorted(answers)]
    fresh = connection.execute(upsert(connection, seen).on_conflict_do_nothing().returning(seen.c.key), keys)
    new = [answers[bytes(key)] for key in fresh.scalars()]
    total.new += len(new)
    total.known += len(answers) - len(new)
    if not new:
        return
    _count(connection, Counter((each.shop, each.model_version, each.month, each.verdict) for each in new))
    told = _told(connection, new, pictures)
    rows = []
    for answer in new:
        why = _why(answer, options) or (Why.FEEDBACK if answer.key in told else None)
        if why is not None:
            rows.append(_row(answer, why, pictures.get(answer.key, Picture())))
    if rows:
        total.cases.update(row["why"] for row in rows)
        _add(connection, rows, told)


def _add(connection: Connection, rows: Sequence[dict[str, Any]], told: Mapping[bytes, Any]) -> None:
    made = connection.execute(insert(cases).returning(cases.c.id, cases.c.key), rows).all()
    batch, moment = uuid.uuid4().hex, now()
    line = {"at": moment, "actor": ACTOR, "action": "opened", "batch": batch, "before": None, "after": None}
    connection.execute(insert(history), [{**line, "case_id": row.id} for row in made])
    for row in made:
        if row.key in told:
            by, note = told[row.key].actor, told[row.key].note
            truth = Truth(told[row.key].truth)
            if by == ANONYMOUS:
                report_in(connection, [row.id], truth, note=note)
            else:
                decide_in(connection, [row.id], truth, reviewer=by, note=note, channel="feedback")
    used = {truth.id for truth in told.values()}
    if used:
        connection.execute(delete(feedback).where(feedback.c.id.in_(used)))


def _told(connection: Connection, answers: Sequence[Answer], pictures: Mapping[bytes, Picture]) -> dict[bytes, Any]:
    """Finds truths that came in before these answers did, by the answer's key; a name outweighs none."""
    waiting = connection.execute(select(feedback).limit(1)).first()
    if waiting is None:
        return {}
    told: dict[bytes, Any] = {}
    for kind in KINDS:
        by_value: dict[str, list[bytes]] = {}
        for answer in answers:
            sha256 = answer.sha256 or pictures.get(answer.key, Picture()).sha256
            value = sha256 if kind == "sha256" else clean(answer.rest.get(kind))  # as truths are cleaned
            value = answer.reference if kind == "reference" else value
            if value:
                by_value.setdefault(value, []).append(answer.key)
        for some in _portions(list(by_value)):
            query = select(feedback).where(feedback.c.kind == kind, feedback.c.value.in_(some))
            for truth in connection.execute(query):
                for key in by_value[truth.value]:
                    if key not in told or truth.actor != ANONYMOUS:
                        told[key] = truth
    return told


def _row(answer: Answer, why: Why, picture: Picture) -> dict[str, Any]:
    return {
        "key": answer.key,
        "reference": answer.reference,
        "sha256": answer.sha256 or picture.sha256,
        "shop": answer.shop,
        "verdict": answer.verdict,
        "probability": answer.probability,
        "model_version": answer.model_version,
        **details(answer),
        "picture": picture.copy,
        "why": why.value,
        "draw": draw(answer.sha256 or answer.reference),
        "month": answer.month,
        "seen_at": answer.seen_at,
        "created_at": now(),
        "state": State.OPEN.value,
        "truth": "",
        "channel": "",
        "reviewer": "",
        "note": "",
        "decided_at": None,
    }


def _count(connection: Connection, answers: Mapping[tuple[str, int, str, str], int]) -> None:
    names = ("shop", "model_version", "month", "verdict")
    rows = [{**dict(zip(names, kind, strict=True)), "answers": count} for kind, count in sorted(answers.items())]
    statement = upsert(connection, tallies)
    grown = {"answers": tallies.c.answers + statement.excluded.answers}
    connection.execute(statement.on_conflict_do_update(index_elements=names, set_=grown), rows)


def _portions(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    for start in range(0, len(values), _AT_A_TIME):
        yield values[start : start + _AT_A_TIME]


def upsert(connection: Connection, table: Table) -> Any:
    """Returns an INSERT of the database's own kind, which can say what to do on a conflict."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
