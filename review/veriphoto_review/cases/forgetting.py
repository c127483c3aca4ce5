"""Removes what must not be kept: one seller, one picture, what is too old. The history keeps that it happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, text, update

from veriphoto.errors import UsageError
from veriphoto_review.cases.case import State
from veriphoto_review.cases.store import called
from veriphoto_review.database.connection import Database, clean, now
from veriphoto_review.database.schema import cases, feedback, history

_DAY_S: Final = 86_400.0
_BATCH: Final = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Forgotten:
    """What was removed."""

    cases: int
    pictures: int
    """Kept copies that were deleted."""
    feedback: int = 0
    """Truths that were waiting for a case."""
    kept: int = 0
    """Cases that may be meant too, and stay: without a sha256 where one was named, open where old ones were."""


def forget(
    database: Database, *, actor: str, seller: str = "", sha256: str = "", reference: str = "", shop: str | None = None
) -> Forgotten:
    """Removes cases with all that was noted of them.

    What stays: a line of the history with the case's number, that it was forgotten, when and by whom; counts; and a
    digest that keeps a later import from bringing it back.

    Args:
        database: To remove from.
        actor: Who asks.
        seller: All of this seller.
        sha256: All of this picture.
        reference: All at this path, URI or id.
        shop: Only of this shop.

    Raises:
        UsageError: If nothing says what to forget, or a kept copy cannot be deleted; the cases stay then.
        DatabaseError: If the database refuses; the cases stay then.
    """
    # As rows were cleaned when they came in: a file's name may be no text.
    actor, seller, reference, sha256 = clean(actor), clean(seller), clean(reference), clean(sha256).lower()
    wanted = (
        (seller, cases.c.seller == seller),
        (sha256, cases.c.sha256 == sha256),
        (reference, called(reference)),
    )
    conditions = [condition for value, condition in wanted if value]
    if not conditions:
        raise UsageError("say what to forget: --seller, --sha256 or --reference")
    if shop is not None:
        conditions.append(cases.c.shop == shop)
    with database.writing() as connection:
        found = connection.execute(
            select(cases.c.id, cases.c.picture, cases.c.request_id, cases.c.reference).where(*conditions)
        ).all()
        subjects = {("sha256", sha256), ("reference", reference)}
        for row in found:
            subjects |= {("request_id", row.request_id), ("reference", row.reference)}
        told = 0
        for kind, value in sorted(subjects):
            if value:
                here = (feedback.c.kind == kind) & (feedback.c.value == value)
                told += connection.execute(delete(feedback).where(here)).rowcount
        _remove(connection, [row.id for row in found], actor, "forgotten")
        pictures = _unlink(_unused(connection, [row.picture for row in found]))
        kept = _count(connection, cases.c.sha256 == "") if sha256 else 0
    _clean(database)
    return Forgotten(cases=len(found), pictures=pictures, feedback=told, kept=kept)


def retain(database: Database, *, cases_days: float | None = None, pictures_days: float | None = None) -> Forgotten:
    """Removes what is too old: run it daily.

    Args:
        database: To remove from.
        cases_days: Cases that were decided longer ago than this; their counts in the report go with them. Open cases
            stay, however old they are. None keeps all.
        pictures_days: Kept copies older than this. None keeps them.

    Raises:
        UsageError: If a kept copy cannot be deleted; it and its case stay then.
        DatabaseError: If the database refuses.
    """
    removed = still_open = pictures = 0
    while cases_days is not None:
        old = (cases.c.state != State.OPEN) & (cases.c.decided_at < now() - cases_days * _DAY_S)
        with database.writing() as connection:
            found = connection.execute(select(cases.c.id, cases.c.picture).where(old).limit(_BATCH)).all()
            _remove(connection, [row.id for row in found], "retention", "expired")
            pictures += _unlink(_unused(connection, [row.picture for row in found]))
        removed += len(found)
        if not found:
            aged = cases.c.created_at < now() - cases_days * _DAY_S
            with database.reading() as connection:
                still_open = _count(connection, (cases.c.state == State.OPEN) & aged)
            break
    if pictures_days is not None:
        old = (cases.c.picture != "") & (cases.c.created_at < now() - pictures_days * _DAY_S)
        with database.writing() as connection:
            kept = list(connection.scalars(select(cases.c.picture).where(old)))
            connection.execute(update(cases).where(old).values(picture=""))
            pictures += _unlink(_unused(connection, kept))
    if removed:
        _clean(database)
    return Forgotten(cases=removed, pictures=pictures, kept=still_open)


def _count(connection: Connection, condition: ColumnElement[bool]) -> int:
    return connection.scalar(select(func.count()).select_from(cases).where(condition)) or 0


def _remove(connection: Connection, numbers: Sequence[int], actor: str, action: str) -> None:
    for start in range(0, len(numbers), _BATCH):
        some = list(numbers[start : start + _BATCH])
        connection.execute(delete(cases).where(cases.c.id.in_(some)))
        connection.execute(delete(history).where(history.c.case_id.in_(some)))  # notes, names: all of it
        line = {"at": now(), "actor": actor, "action": action, "batch": "", "before": None, "after": None}
        connection.execute(insert(history), [{**line, "case_id": number} for number in some])


def _unused(connection: Connection, pictures: Sequence[str]) -> list[str]:
    """Leaves out what other cases still need: copies of a picture share one file."""
    named = sorted({picture for picture in pictures if picture})
    used: set[str] = set()
    for start in range(0, len(named), _BATCH):
        condition: ColumnElement[bool] = cases.c.picture.in_(named[start : start + _BATCH])
        used |= set(connection.scalars(select(cases.c.picture).where(condition)))
    return [picture for picture in named if picture not in used]


def _unlink(pictures: Sequence[str]) -> int:
    """Deletes copies before what names them is gone for good: whatever comes between, the command run again goes on."""
    count = 0
    for picture in pictures:
        try:
            Path(picture).unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(
                f"{picture} cannot be removed: {error.strerror}; its cases stay, repair it and run again"
            ) from error
        count += 1
    return count


def _clean(database: Database) -> None:
    """Has SQLite overwrite what was deleted: it only marks pages as free, and the log beside it keeps them."""
    if database.dialect == "sqlite":
        with database.outside() as connection:
            connection.execute(text("VACUUM"))
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
