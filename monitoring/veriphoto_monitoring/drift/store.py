"""The monitor's persistent state, in one SQLite file.

The results of a chunk of the log and the position in the log are written in one transaction. So a monitor that is
killed at any moment loses nothing and counts nothing twice.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from veriphoto.errors import StartupError
from veriphoto.locks import take_folder
from veriphoto.prediction_log.record import Record
from veriphoto_monitoring.drift.alarms import Alarm
from veriphoto_monitoring.drift.history import KEEP, VERSIONS
from veriphoto_monitoring.drift.results import Result, WindowEvaluation
from veriphoto_monitoring.input.features import WIDTH, Floats

_EVALUATIONS: Final = 2000
_ALARMS: Final = 500
_SCHEMA: Final = 1

_TABLES: Final = f"""
PRAGMA user_version = {_SCHEMA};
CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (version INTEGER PRIMARY KEY, seen INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    version INTEGER NOT NULL, number INTEGER NOT NULL, time REAL NOT NULL, request_id TEXT NOT NULL, row BLOB NOT NULL,
    PRIMARY KEY (version, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarms (
    id INTEGER PRIMARY KEY, version INTEGER NOT NULL, window INTEGER NOT NULL, statistic TEXT NOT NULL,
    raised REAL NOT NULL, open INTEGER NOT NULL, body TEXT NOT NULL, UNIQUE (version, window, statistic, raised)
);
CREATE TABLE IF NOT EXISTS evaluations (
    id INTEGER PRIMARY KEY, version INTEGER NOT NULL, window INTEGER NOT NULL, time REAL NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS states (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""


class Store:
    """The database. Use it from one thread, and write only inside ``transaction``."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file.

        Args:
            path: The file; its directory is created if missing.

        Raises:
            StartupError: If it cannot be opened, was written by another release, or is in use: each of two monitors
                would count what the other has counted.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as opened:
                folder = take_folder(path.parent)
                if folder is None:
                    raise StartupError(f"another drift monitor uses {path.parent}; stop it, or choose another --var")
                opened.callback(os.close, folder)
                self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                opened.callback(self._db.close)
                found = self._db.execute("PRAGMA user_version").fetchone()[0]
                if found not in {0, _SCHEMA}:
                    raise StartupError(
                        f"{path} was written by another release (schema {found}); remove it to begin anew"
                    )
                self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + _TABLES)
                self._opened = opened.pop_all()
        except (OSError, sqlite3.Error) as error:
            raise StartupError(f"{path} cannot be used: {error}") from error

    def close(self) -> None:
        """Closes the file, and lets another monitor use it."""
        self._opened.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Writes everything inside together, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def offsets(self) -> dict[str, int]:
        """Returns how far each segment is read, in bytes."""
        return dict(self._db.execute("SELECT name, offset FROM segments"))

    def advance(self, segment: str, offset: int) -> None:
        """Notes how far a segment is read."""
        self._db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?)", (segment, offset))

    def totals(self) -> dict[str, float]:
        """Returns what ``count`` added up."""
        return dict(self._db.execute("SELECT name, value FROM totals"))

    def count(self, name: str, more: float) -> None:
        """Adds to a total."""
        self._db.execute(
            "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, more),
        )

    def add(self, records: Sequence[Record], rows: Floats) -> None:
        """Adds records and deletes those that no window needs any more.

        Args:
            records: N records.
            rows: The same as rows [N, WIDTH].
        """
        known = self.versions()
        seen = {version: count for version, count, _ in known}
        last = known[-1][2] if known else 0
        lines = []
        for record, row in zip(records, rows, strict=True):
            version = record.model_version
            seen[version] = seen.get(version, 0) + 1
            lines.append((version, seen[version], record.time, record.request_id, row.tobytes()))
        self._db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", lines)
        # Ordered by the time of their last record.
        touched = list(dict.fromkeys(record.model_version for record in reversed(records)))
        for order, version in enumerate(reversed(touched), last + 1):
            self._db.execute("INSERT OR REPLACE INTO versions VALUES (?, ?, ?)", (version, seen[version], order))
            self._db.execute("DELETE FROM records WHERE version = ? AND number <= ?", (version, seen[version] - KEEP))
        kept = "SELECT version FROM versions ORDER BY last DESC LIMIT ?"
        self._db.execute(f"DELETE FROM records WHERE version NOT IN ({kept})", (VERSIONS,))  # noqa: S608 - constant

    def versions(self) -> list[tuple[int, int, int]]:
        """Returns version, pictures seen and a rank that is highest for the latest, oldest first."""
        return list(self._db.execute("SELECT version, seen, last FROM versions ORDER BY last"))

    def last(self, version: int) -> tuple[Floats, Floats, list[str]]:
        """Returns the pictures kept of a version: rows [N, WIDTH], times [N], request ids."""
        query = "SELECT row, time, request_id FROM records WHERE version = ? ORDER BY number"
        found = self._db.execute(query, (version,)).fetchall()
        rows = np.frombuffer(b"".join(row for row, _, _ in found)).reshape(len(found), WIDTH)
        return rows, np.array([time for _, time, _ in found], dtype=np.float64), [name for _, _, name in found]

    def put_alarm(self, alarm: Alarm) -> None:
        """Writes an alarm as it is now."""
        self._db.execute(
            "INSERT INTO alarms (version, window, statistic, raised, open, body) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (version, window, statistic, raised) DO UPDATE SET open = excluded.open, body = excluded.body",
            (*alarm.key, alarm.raised, alarm.ended is None, json.dumps(alarm.to_json())),
        )
        self._db.execute("DELETE FROM alarms WHERE NOT open AND id <= (SELECT max(id) FROM alarms) - ?", (_ALARMS,))

    def end_alarms(self, time: float) -> None:
        """Ends all alarms: the reference has changed."""
        for alarm in self.alarms(open_only=True):
            self.put_alarm(replace(alarm, ended=time))

    def alarms(self, open_only: bool = False) -> list[Alarm]:
        """Returns alarms, oldest first."""
        query = "SELECT body FROM alarms WHERE open OR NOT ? ORDER BY id"
        return [Alarm.from_json(json.loads(body)) for (body,) in self._db.execute(query, (open_only,))]

    def put_evaluation(self, version: int, evaluation: WindowEvaluation) -> None:
        """Adds a window's results."""
        body = json.dumps({"images": evaluation.images, "results": [one.to_json() for one in evaluation.results]})
        values = (version, evaluation.window, evaluation.time, body)
        self._db.execute("INSERT INTO evaluations (version, window, time, body) VALUES (?, ?, ?, ?)", values)
        self._db.execute("DELETE FROM evaluations WHERE id <= (SELECT max(id) FROM evaluations) - ?", (_EVALUATIONS,))

    def evaluations(self, version: int, window: int, count: int) -> list[WindowEvaluation]:
        """Returns the last results of a window, oldest first."""
        query = "SELECT time, body FROM evaluations WHERE version = ? AND window = ? ORDER BY id DESC LIMIT ?"
        found = []
        for time, text in self._db.execute(query, (version, window, count)):
            body: dict[str, Any] = json.loads(text)
            results = tuple(Result(**one) for one in body["results"])
            found.append(WindowEvaluation(window=window, images=body["images"], time=time, results=results))
        return found[::-1]

    def state(self, name: str) -> Any:
        """Returns what ``put_state`` wrote, or None."""
        found = self._db.execute("SELECT body FROM states WHERE name = ?", (name,)).fetchone()
        return json.loads(found[0]) if found else None

    def put_state(self, name: str, body: object) -> None:
        """Writes any JSON value under a name."""
        self._db.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", (name, json.dumps(body)))
