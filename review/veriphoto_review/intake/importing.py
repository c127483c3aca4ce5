"""Brings answers into the database: streamed, each once, whatever is imported twice or killed in between."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from veriphoto.errors import ImageError
from veriphoto_review.cases.case import State, Truth, Why
from veriphoto_review.cases.pictures import keep, read_at
from veriphoto_review.cases.rule import AUDIT_SHARE, becomes, draw
from veriphoto_review.cases.store import decide_in
from veriphoto_review.database.connection import Database, now
from veriphoto_review.database.schema import cases, feedback, history, seen, tallies
from veriphoto_review.intake.files import Batch
from veriphoto_review.intake.rows import Answer, details, read_answer

_SHOWN: Final = 20
KINDS: Final = ("request_id", "sha256", "reference")
"""By what a truth may name its picture."""
ACTOR: Final = "import"


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
    """
    total = Imported()
    started = now()
    with database.held():
        for batch in found:
            answers = _read(batch, options, total, started)
            with database.writing() as connection:
                _take(connection, answers, options, total)
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


def _take(connection: Connection, answers: Mapping[bytes, Answer], options: ImportOptions, total: Imported) -> None:
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
    told = _told(connection, new)
    rows = []
    for answer in new:
        drawn = draw(answer.sha256 or answer.reference)
        why = becomes(answer.verdict, drawn, options.audit_share)
        if why is None and answer.key in told:
            why = Why.FEEDBACK
        if why is not None:
            rows.append(_row(answer, why, drawn))
    if rows:
        total.cases.update(row["why"] for row in rows)
        _add(connection, rows, told, options)


def _add(
    connection: Connection, rows: Sequence[dict[str, Any]], told: Mapping[bytes, Any], options: ImportOptions
) -> None:
    if options.keep_pictures is not None:
        rows = [{**row, "picture": _kept(row, options.keep_pictures)} for row in rows]
    made = connection.execute(insert(cases).returning(cases.c.id, cases.c.key), rows).all()
    batch, moment = uuid.uuid4().hex, now()
    line = {"at": moment, "actor": ACTOR, "action": "opened", "batch": batch, "before": None, "after": None}
    connection.execute(insert(history), [{**line, "case_id": row.id} for row in made])
    for row in made:
        if row.key in told:
            truth = told[row.key]
            decide_in(
                connection,
                [row.id],
                Truth(truth.truth),
                reviewer=truth.actor,
                note=truth.note,
                channel="feedback",
                again=False,
            )
    used = {truth.id for truth in told.values()}
    if used:
        connection.execute(delete(feedback).where(feedback.c.id.in_(used)))


def _told(connection: Connection, answers: Sequence[Answer]) -> dict[bytes, Any]:
    """Finds truths that came in before these answers did, by the answer's key."""
    waiting = connection.execute(select(feedback).limit(1)).first()
    if waiting is None:
        return {}
    told: dict[bytes, Any] = {}
    for kind in KINDS:
        by_value: dict[str, list[bytes]] = {}
        for answer in answers:
            value = answer.sha256 if kind == "sha256" else str(answer.rest.get(kind) or "")
            value = answer.reference if kind == "reference" else value
            if value:
                by_value.setdefault(value, []).append(answer.key)
        values = list(by_value)
        for start in range(0, len(values), 500):
            query = select(feedback).where(feedback.c.kind == kind, feedback.c.value.in_(values[start : start + 500]))
            for truth in connection.execute(query):
                told |= dict.fromkeys(by_value[truth.value], truth)
    return told


def _row(answer: Answer, why: Why, drawn: float) -> dict[str, Any]:
    return {
        "key": answer.key,
        "reference": answer.reference,
        "sha256": answer.sha256,
        "shop": answer.shop,
        "verdict": answer.verdict,
        "probability": answer.probability,
        "model_version": answer.model_version,
        **details(answer),
        "picture": "",
        "why": why.value,
        "draw": drawn,
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


def _kept(row: Mapping[str, Any], folder: Path) -> str:
    """Keeps a copy, where the picture still is the one that was scored."""
    try:
        return str(keep(folder, read_at(row["reference"], row["sha256"])).resolve())
    except ImageError:
        return ""


def _count(connection: Connection, answers: Mapping[tuple[str, int, str, str], int]) -> None:
    names = ("shop", "model_version", "month", "verdict")
    rows = [{**dict(zip(names, kind, strict=True)), "answers": count} for kind, count in sorted(answers.items())]
    statement = upsert(connection, tallies)
    grown = {"answers": tallies.c.answers + statement.excluded.answers}
    connection.execute(statement.on_conflict_do_update(index_elements=names, set_=grown), rows)


def upsert(connection: Connection, table: Table) -> Any:
    """Returns an INSERT of the database's own kind, which can say what to do on a conflict."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
