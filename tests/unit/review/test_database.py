"""The tables, their migrations, and what a database that refuses is called."""

from __future__ import annotations

import contextlib
import sqlite3
import traceback
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from small_disk import small_disk
from sqlalchemy import delete, text, update

from veriphoto.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseFullError,
    DatabaseSchemaError,
    DatabaseUnavailableError,
    UsageError,
)
from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database import migrations
from veriphoto_review.database.connection import Database, migrate
from veriphoto_review.database.schema import HEAD, cases, history, metadata

from .kit import bring, row


def test_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == HEAD


def test_an_older_schema_is_said_and_migrated_without_loss(url: str, tmp_path: Path) -> None:
    old = Database(url)
    bring(old, tmp_path, [row(1)])
    with old.writing() as connection:
        connection.execute(text("DROP TABLE feedback"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(DatabaseSchemaError, match=r"schema 0001.*veriphoto review migrate"):
        Database(url)
    migrate(Database.unchecked(url))
    assert CaseStore(Database(url)).count(Filter()) == 1


def test_a_newer_schema_and_foreign_tables_are_refused_and_left(url: str) -> None:
    database = Database(url)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (lambda: Database(url), lambda: migrate(Database.unchecked(url))):
        with pytest.raises(DatabaseSchemaError, match="newer release"):
            attempt()
    with database.writing() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(DatabaseSchemaError, match="not ours"):
        Database(url)


def test_history_is_only_appended_to(database: Database, tmp_path: Path) -> None:
    bring(database, tmp_path, [row(1)])
    for statement in (update(history).values(actor="nobody"), delete(history)):
        with pytest.raises(DatabaseError, match="appended to only"), database.writing() as connection:
            connection.execute(statement)
    with database.writing() as connection:  # a case that is gone takes its history along
        connection.execute(delete(cases))
        connection.execute(delete(history))


def test_a_block_that_fails_leaves_nothing(database: Database, tmp_path: Path) -> None:
    bring(database, tmp_path, [row(1)])
    with contextlib.suppress(ZeroDivisionError), database.writing() as connection:
        connection.execute(update(cases).values(note="half"))
        raise ZeroDivisionError
    assert CaseStore(database).page(Filter())[0].note == ""


def test_a_locked_database_is_busy_and_nothing_is_lost(url: str, tmp_path: Path) -> None:
    database, other = Database(url, patience=0.2), Database(url)
    bring(database, tmp_path, [row(1)])
    store = CaseStore(database)
    number = store.page(Filter())[0].id
    with other.writing() as connection:
        connection.execute(update(cases).values(note="held"))
        with pytest.raises(DatabaseBusyError, match="nothing was changed"):
            store.decide([number], Truth.REAL, reviewer="ann")
        assert store.count(Filter()) == 1, "readers do not wait"
    assert store.decide([number], Truth.REAL, reviewer="ann").decided == (number,)


def test_a_full_disk_is_said_and_nothing_is_half_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'review.db'}"
    database = Database(url)
    bring(database, tmp_path, [row(1)])
    with database.writing() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))

    def small(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages + 3}")

    from sqlalchemy import event  # noqa: PLC0415

    event.listen(database._engine, "connect", small)
    with pytest.raises(DatabaseFullError, match="make room and run again"):
        bring(database, tmp_path, [row(number) for number in range(2, 4000)])
    assert CaseStore(database).count(Filter()) == 1
    assert bring(Database(url), tmp_path, [row(number) for number in range(1, 4000)]).new == 3998


def test_a_really_full_file_system(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "400k") as small:
        database = Database(f"sqlite:///{small / 'review.db'}")
        with pytest.raises(DatabaseFullError):
            bring(database, tmp_path, [row(number) for number in range(4000)])
        assert CaseStore(database).count(Filter()) == 0


@pytest.mark.parametrize(
    "url",
    [
        "postgresql//u:s3cret@h/db",
        "postgresql://u:s3cret@h:port/db",
        "postgresql://u:s3cret@[::1/db",
        "postgresql://u:a@s3cret@h/db",
        "sqlite://u:s3cret@h/x",
        "mysql://u:s3cret@h/x",
        "u:s3cret@h",
    ],
)
def test_a_bad_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        Database(url)
    assert "s3cret" not in "".join(traceback.format_exception_only(refused.value))
    assert refused.value.__cause__ is None


def test_bad_addresses(tmp_path: Path) -> None:
    for url in ("nonsense", "mysql://a/b", "sqlit:///x", ""):
        with pytest.raises(UsageError):
            Database(url)
    (tmp_path / "text.db").write_text("this is no database, and long enough to be seen as none" * 30)
    with pytest.raises(DatabaseUnavailableError, match="not a database"):
        Database(f"sqlite:///{tmp_path / 'text.db'}")
    with pytest.raises(DatabaseUnavailableError) as refused:
        Database("postgresql://someone:secret@127.0.0.1:9/review")
    assert "secret" not in refused.value.message
