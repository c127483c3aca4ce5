"""The tables, as the newest migration leaves them; a test compares the two.

``cases`` holds what people decide; ``history`` every change of a case, appended only (a trigger refuses the rest);
``seen`` a digest of every imported row, so that nothing counts twice; ``tallies`` how many answers there were of each
kind, of which the cases are a part; ``feedback`` truths that came in before their case did.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

HEAD: Final = "0002"
"""Revision of the newest migration."""

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only for its own INTEGER

cases = Table(
    "cases",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("key", LargeBinary(16), nullable=False, unique=True),
    Column("reference", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("shop", Text, nullable=False),
    Column("seller", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("prediction", String(16), nullable=False),
    Column("probability", Float, nullable=False),
    Column("confidence", String(8), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("threshold", Float),
    Column("unsure_low", Float),
    Column("unsure_high", Float),
    Column("evidence", Text, nullable=False),
    Column("provenance", JSON),
    Column("extra", JSON),
    Column("picture", Text, nullable=False),
    Column("why", String(16), nullable=False),
    Column("draw", Float, nullable=False),
    Column("month", String(7), nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("truth", String(16), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("decided_at", Float),
    Index("cases_by_score", "state", "probability", "id"),
    Index("cases_by_age", "state", "seen_at", "id"),
    Index("cases_by_draw", "state", "draw", "id"),
    Index("cases_by_sha256", "sha256"),
    Index("cases_by_request", "request_id"),
    Index("cases_by_reference", "reference"),
    Index("cases_by_seller", "seller"),
    Index("cases_by_day", "decided_at"),
    sqlite_autoincrement=True,  # a number is never used again, so that history cannot be mistaken for another case's
)

history = Table(
    "history",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("case_id", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(16), nullable=False),
    Column("batch", String(32), nullable=False),
    Column("before", JSON),
    Column("after", JSON),
    Index("history_by_case", "case_id", "id"),
    Index("history_by_batch", "batch"),
    Index("history_by_actor", "actor", "at"),
    sqlite_autoincrement=True,
)

seen = Table("seen", metadata, Column("key", LargeBinary(16), primary_key=True), sqlite_with_rowid=False)

tallies = Table(
    "tallies",
    metadata,
    Column("shop", Text, primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("verdict", String(16), primary_key=True),
    Column("answers", BigInteger, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("value", Text, nullable=False),
    Column("truth", String(16), nullable=False),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("kind", "value", name="feedback_subject"),
)
