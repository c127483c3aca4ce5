from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from veriphoto_review.cases.store import CaseStore
from veriphoto_review.database.connection import Database

from .kit import postgresql, postgresql_bin


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    programs = postgresql_bin()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; install it with: make postgres")
    with postgresql(programs) as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'review.db'}"
    cluster: str = request.getfixturevalue("cluster")
    name = f"review_{uuid.uuid4().hex}"
    engine = create_engine(f"{cluster}/postgres".replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{cluster}/{name}"


@pytest.fixture
def database(url: str) -> Database:
    return Database(url, patience=1.0)


@pytest.fixture
def store(database: Database) -> CaseStore:
    return CaseStore(database)
