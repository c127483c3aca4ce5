"""Truths from outside: a shop found out what a picture is. Each counts once, before or after its case is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, and_, or_

from veriphoto.contract import ANONYMOUS
from veriphoto.errors import UsageError
from veriphoto.shared_names import LONGEST_REFERENCE
from veriphoto_review.cases.case import Case, State, Truth
from veriphoto_review.cases.store import DESK, LONGEST_NOTE, decide_in, matching, report_in
from veriphoto_review.database.connection import Database, clean, now
from veriphoto_review.database.schema import feedback
from veriphoto_review.intake.importing import KINDS, upsert

CHANNEL = "feedback"
_GATEWAY_PATIENCE_S = 2.0

Status = Literal["decided", "reported", "unchanged", "kept", "waiting", "unknown"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a truth."""

    status: Status
    """``reported``: the caller has no name, so the case stays open and comes first in the queue; ``waiting``: no case
    yet, kept until an import brings it; ``kept``: a reviewer has decided otherwise; ``unknown``: no case, and nothing
    to wait for."""
    cases: int


class FeedbackDesk:
    """Takes truths; which the gateway finds under the entry point ``veriphoto.feedback``."""

    def __init__(self, database: Database) -> None:
        """Takes a database.

        Args:
            database: Open, at the newest schema.
        """
        self._database = database

    @classmethod
    def open(cls, url: str) -> FeedbackDesk:
        """Opens a database for the gateway, whose callers do not wait long.

        Raises:
            DatabaseError: If it cannot be used.
        """
        return cls(Database(url, patience=_GATEWAY_PATIENCE_S))

    def take(
        self, *, kind: str, value: str, truth: str, note: str, actor: str, wait: bool = True, channel: str = CHANNEL
    ) -> Receipt:
        """Takes one truth.

        A reviewer's decision stays; an open case, and one that feedback has decided, follows. The same truth again
        changes nothing. Somebody without a name (``ANONYMOUS``) decides nothing: what they say is noted in the history
        of the case, which stays open and comes first.

        Args:
            kind: ``request_id``, ``sha256`` or ``reference``.
            value: Value of that field.
            truth: ``real`` or ``ai_generated``; empty where a person looked and cannot tell.
            note: Why, in the caller's words.
            actor: Who tells.
            wait: Remember the truth where there is no case yet. A tool that was given our cases has no others.
            channel: Way by which it came in: a system's feedback, or the name of the tool in which people decided.

        Raises:
            UsageError: If an argument is none of these.
            DatabaseError: If the database refuses; nothing has changed then.
        """
        value, actor = clean(value), clean(actor)
        if kind not in KINDS or not value or len(value.encode()) > LONGEST_REFERENCE or len(note) > LONGEST_NOTE:
            raise UsageError(f"a truth names its picture by {', '.join(KINDS)}, and its note is short")
        found, note = Truth(truth), clean(note)
        with self._database.writing() as connection:
            cases = matching(connection, kind, value)
            if not cases:
                if not (wait and found):
                    return Receipt("unknown", 0)
                return _wait(connection, kind, value, found, note, actor)
            if actor == ANONYMOUS and (here := [case.id for case in cases if case.state == State.OPEN]):
                fresh = report_in(connection, here, found, note=note)
                return Receipt("reported" if fresh else "unchanged", len(here))
            same = [case.id for case in cases if case.state != State.OPEN and case.truth == found]
            ours = {case.id: case.decided_at for case in cases if case.id not in same and _free(case)}
            if ours and actor != ANONYMOUS:
                decide_in(connection, list(ours), found, reviewer=actor, note=note, channel=channel, seen=ours)
                return Receipt("decided", len(ours))
            return Receipt("unchanged" if same else "kept", len(cases))


def _free(case: Case) -> bool:
    """Whether no reviewer has decided it."""
    return case.state == State.OPEN or case.channel != DESK


def _wait(connection: Connection, kind: str, value: str, truth: Truth, note: str, actor: str) -> Receipt:
    row = {"kind": kind, "value": value, "truth": truth.value, "actor": actor, "note": note, "at": now()}
    statement = upsert(connection, feedback).values(row)
    other, nameless = feedback.c.truth != statement.excluded.truth, feedback.c.actor == ANONYMOUS
    newer = and_(other, nameless) if actor == ANONYMOUS else or_(other, nameless)  # a name outweighs none
    changed = {name: statement.excluded[name] for name in ("truth", "actor", "note", "at")}
    connection.execute(statement.on_conflict_do_update(index_elements=["kind", "value"], set_=changed, where=newer))
    return Receipt("waiting", 0)
