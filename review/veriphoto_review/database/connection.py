"""Opens the database, brings it up, and words what it refuses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from veriphoto.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseFullError,
    DatabaseSchemaError,
    DatabaseUnavailableError,
    UsageError,
)
from veriphoto_review.database.schema import HEAD

_KINDS: Final = ("sqlite", "postgresql")
_PATIENCE_S: Final = 10.0
"""How long a lock is waited for."""
_FULL_DISK: Final = "53100"
_BUSY_STATES: Final = ("55P03", "40P01", "40001", "53300", "57014")
"""PostgreSQL's codes for locks, deadlocks, serialization, too many connections, a statement that took too long."""


class Database:
    """A database at the newest schema. Safe to share between threads: each use opens a connection and closes it."""

    def __init__(self, url: str, *, patience: float = _PATIENCE_S) -> None:
        """Opens a database; an empty one gets its tables.

        Args:
            url: ``sqlite:///path`` or ``postgresql://user@host/name``.
            patience: Seconds to wait for a lock.

        Raises:
            UsageError: If the URL is none of these.
            DatabaseError: If it cannot be opened, or is of another release's schema.
        """
        self.url: Final = url
        self._engine, self.name = _engine(url, patience)
        found = self._revision()
        if found == "":
            migrate(self)
        elif found != HEAD:
            raise DatabaseSchemaError(_other_schema(self.name, found))

    @classmethod
    def unchecked(cls, url: str) -> Database:
        """Opens a database whatever its schema, to migrate it."""
        made = cls.__new__(cls)
        made.url = url  # type: ignore[misc]
        made._engine, made.name = _engine(url, _PATIENCE_S)
        return made

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yields a connection for one look.

        Raises:
            DatabaseError: If the database refuses.
        """
        with self._worded(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yields a connection whose changes are there whole at the end of the block, or not at all.

        Raises:
            DatabaseError: If the database refuses; nothing of the block is in it then.
        """
        with self._worded(), self._engine.connect() as plain:
            connection = plain.execution_options(writing=True)
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps a connection open over many blocks: SQLite empties its log, at the disk's pace, when the last closes.

        Raises:
            DatabaseError: If the database refuses.
        """
        with self._worded(), self._engine.connect():
            yield

    @contextlib.contextmanager
    def outside(self) -> Iterator[Connection]:
        """Yields a connection outside any transaction, for the database's own housekeeping.

        Raises:
            DatabaseError: If the database refuses.
        """
        with self._worded(), self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT", outside=True)

    def _revision(self) -> str:
        """Returns the schema's revision; empty where there are no tables at all, ``unknown`` for foreign ones."""
        with self.reading() as connection:
            tables = inspect(connection).get_table_names()
            if "alembic_version" in tables:
                return str(connection.scalar(text("SELECT version_num FROM alembic_version")) or "")
            return "unknown" if tables else ""

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise _words(error, self.name) from error


def migrate(database: Database) -> None:
    """Brings a database to the newest schema, whole or not at all.

    Raises:
        DatabaseError: If it refuses, or is of a newer release.
    """
    from alembic import command  # noqa: PLC0415 - a fifth of a second that most commands do without
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    with database.writing() as connection:
        if database.dialect == "postgresql":  # two processes may meet an empty database at once
            connection.execute(text("SELECT pg_advisory_xact_lock(826373)"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise DatabaseSchemaError(_other_schema(database.name, str(error))) from error


def _engine(url: str, patience: float) -> tuple[Engine, str]:
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
        if kind not in _KINDS:
            raise UsageError(f"a review database is sqlite:///FILE or postgresql://..., not {kind}")
        if "@" in (parsed.host or ""):
            raise ArgumentError("what stands before the last @ may be a part of the password")
        name = parsed.render_as_string(hide_password=True)
        if kind == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
            wait = round(patience * 1000)
            options = {"connect_timeout": 5, "options": f"-c lock_timeout={wait}"}
            return create_engine(parsed, poolclass=NullPool, connect_args=options), name
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, poolclass=NullPool, connect_args={"timeout": patience})
    except (ArgumentError, NoSuchModuleError, ValueError):  # the last: a port that is no number
        # The cause is left out as well, because it quotes the URL.
        shown = f"***@{url.rpartition('@')[2]}" if "@" in url else url
        raise UsageError(
            f"{shown!r} is no database URL; write sqlite:///FILE or postgresql://user@host/name, and @ in a password "
            "as %40"
        ) from None
    except OSError as error:
        raise DatabaseUnavailableError(f"{name} cannot be opened: {error.strerror}; name another") from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine, name


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver would begin by itself, and too late to be sure of the lock
    connection.execute("PRAGMA journal_mode=WAL")  # readers and the writer do not wait for each other
    connection.execute("PRAGMA wal_autocheckpoint=16384")  # 64 MB: an import writes pages all over the file
    connection.execute("PRAGMA cache_size=-65536")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("outside"):
        return
    writing = options.get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _other_schema(name: str, found: str) -> str:
    if found == "unknown":
        return f"{name} holds tables that are not ours; name another database"
    if found.isdigit() and found < HEAD:
        return f"{name} is of schema {found}, this release needs {HEAD}; copy it, then run: veriphoto review migrate"
    return f"{name} is of a newer release ({found}), this one reads {HEAD}; install that release"


def _words(error: SQLAlchemyError, name: str) -> DatabaseError:
    cause = error.orig if isinstance(error, DBAPIError) else None
    state = str(getattr(cause, "sqlstate", "") or "")
    said = str(cause or error).splitlines()[0] if str(cause or error) else type(error).__name__
    if "locked" in said or "busy" in said or state in _BUSY_STATES:
        return DatabaseBusyError(f"{name} is held by another process; nothing was changed, try again in a moment")
    if "is full" in said or state == _FULL_DISK:
        return DatabaseFullError(f"{name}: its disk is full; nothing was changed, make room and run again")
    if "readonly" in said or "read-only" in said:
        return DatabaseUnavailableError(f"{name} may not be written; check who owns the file and its folder")
    if "not a database" in said or "malformed" in said:
        return DatabaseUnavailableError(f"{name} is not a database, or damaged; restore it from a copy")
    return DatabaseUnavailableError(f"{name} cannot be used: {said}; check --database and that it runs")


def now() -> float:
    """Returns the time as all rows have it: seconds since the epoch."""
    return time.time()


def clean(value: Any) -> str:
    """Returns a text that both databases take: no NUL, no lone surrogates."""
    if value is None:
        return ""
    return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "backslashreplace").decode("utf-8")
