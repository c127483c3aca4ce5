"""Cases, their history, and what was seen."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# A living case's history is neither changed nor cut; `forget` takes the case away first.
_SQLITE = (
    """CREATE TRIGGER history_is_kept BEFORE UPDATE ON history
    BEGIN SELECT RAISE(ABORT, 'history is appended to only'); END""",
    """CREATE TRIGGER history_stays BEFORE DELETE ON history WHEN EXISTS (SELECT 1 FROM cases WHERE id = OLD.case_id)
    BEGIN SELECT RAISE(ABORT, 'history is appended to only'); END""",
)
_POSTGRESQL = (
    """CREATE FUNCTION veriphoto_keep_history() RETURNS trigger AS $$ BEGIN
    IF TG_OP = 'UPDATE' OR EXISTS (SELECT 1 FROM cases WHERE id = OLD.case_id) THEN
      RAISE EXCEPTION 'history is appended to only';
    END IF; RETURN OLD; END $$ LANGUAGE plpgsql""",
    """CREATE TRIGGER history_is_kept BEFORE UPDATE OR DELETE ON history
    FOR EACH ROW EXECUTE FUNCTION veriphoto_keep_history()""",
)


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "cases",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("key", sa.LargeBinary(16), nullable=False, unique=True),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("shop", sa.Text, nullable=False),
        sa.Column("seller", sa.Text, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("prediction", sa.String(16), nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("confidence", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("model_version", sa.Integer, nullable=False),
        sa.Column("threshold", sa.Float),
        sa.Column("unsure_low", sa.Float),
        sa.Column("unsure_high", sa.Float),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("provenance", sa.JSON),
        sa.Column("extra", sa.JSON),
        sa.Column("picture", sa.Text, nullable=False),
        sa.Column("why", sa.String(16), nullable=False),
        sa.Column("draw", sa.Float, nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("truth", sa.String(16), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("decided_at", sa.Float),
        sqlite_autoincrement=True,
    )
    for name, columns in {
        "cases_by_score": ["state", "probability", "id"],
        "cases_by_age": ["state", "seen_at", "id"],
        "cases_by_draw": ["state", "draw", "id"],
        "cases_by_sha256": ["sha256"],
        "cases_by_request": ["request_id"],
        "cases_by_reference": ["reference"],
        "cases_by_seller": ["seller"],
        "cases_by_day": ["decided_at"],
    }.items():
        op.create_index(name, "cases", columns)
    op.create_table(
        "history",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("case_id", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("batch", sa.String(32), nullable=False),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sqlite_autoincrement=True,
    )
    op.create_index("history_by_case", "history", ["case_id", "id"])
    op.create_index("history_by_batch", "history", ["batch"])
    op.create_index("history_by_actor", "history", ["actor", "at"])
    op.create_table("seen", sa.Column("key", sa.LargeBinary(16), primary_key=True), sqlite_with_rowid=False)
    op.create_table(
        "tallies",
        sa.Column("shop", sa.Text, primary_key=True),
        sa.Column("model_version", sa.Integer, primary_key=True),
        sa.Column("month", sa.String(7), primary_key=True),
        sa.Column("verdict", sa.String(16), primary_key=True),
        sa.Column("answers", sa.BigInteger, nullable=False),
    )
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
