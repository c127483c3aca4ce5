"""What an actor does: takes units, reads ahead, scores, and writes part files."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Protocol

from veriphoto.errors import CorruptImageError, UnreadableFileError
from veriphoto_client.catalogue import storage
from veriphoto_client.catalogue.ledger import Claim
from veriphoto_client.catalogue.model import Judge
from veriphoto_client.catalogue.places import Place
from veriphoto_client.catalogue.plan import Unit
from veriphoto_client.catalogue.reading import Fetched, fetch
from veriphoto_client.catalogue.rows import CatalogueRow, table
from veriphoto_client.catalogue.tally import Count
from veriphoto_client.scan.rows import Row, failed, printable
from veriphoto_client.scan.walk import Found

READ_AHEAD: Final = 8
"""Inputs in memory, at most 20 MB each."""
_NOTE_EVERY_S: Final = 2.0
_POLL_S: Final = 0.2
_PATIENCE_S: Final = 30.0
"""Wait for another unit's score before scoring the same bytes here: that unit may wait for this very actor."""
_GUILTY: Final = CorruptImageError("the picture ended each process that scored it; look at it with care")


class Desk(Protocol):
    """The scan's shared memory, as a unit sees it."""

    def begin(self, unit: str) -> tuple[bool, set[int]]: ...  # noqa: D102
    def working(self, unit: str, position: int) -> None: ...  # noqa: D102
    def note(self, unit: str, count: Count) -> None: ...  # noqa: D102
    def finish(self, unit: str, count: Count) -> None: ...  # noqa: D102
    def ask(self, sha256: str, owner: str, *, insist: bool = False) -> Row | Claim: ...  # noqa: D102
    def tell(self, rows: dict[str, Row]) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Work:
    """What all units of a scan share."""

    judge: Judge
    model_sha256: str
    output: Place
    desk: Desk
    tries: int
    deduplicate: bool


def score_unit(unit: Unit, work: Work, readers: ThreadPoolExecutor) -> int:
    """Scores a unit and writes its part file, unless that is there.

    Args:
        unit: Which.
        work: How.
        readers: Threads that read ahead.

    Returns:
        Rows written.
    """
    part = work.output.child(*unit.part)
    if storage.exists(part):
        return 0
    scorer = _UnitScorer(unit, work, readers)
    rows = scorer.rows()
    storage.put_tables(part, [table(rows)])
    scorer.finish()
    return len(rows)


@dataclass(frozen=True, slots=True)
class _Read:
    found: Found
    fetched: Fetched
    sha256: str | None = None
    known: Row | Claim = Claim.YOURS


class _UnitScorer:
    def __init__(self, unit: Unit, work: Work, readers: ThreadPoolExecutor) -> None:
        self._unit = unit
        self._name = "/".join(unit.part)
        self._work = work
        self._readers = readers
        self._started = self._noted = time.monotonic()
        self._count = Count()
        self._own: dict[str, Row] = {}

    def rows(self) -> list[CatalogueRow]:
        """Scores the inputs, in order."""
        inputs = self._unit.inputs(self._work.output)
        careful, guilty = self._work.desk.begin(self._name)
        rows: list[CatalogueRow | None] = []
        waiting: dict[int, _Read] = {}
        for position, read in enumerate(self._ahead(inputs)):
            if careful:
                self._work.desk.working(self._name, position)
            rows.append(self._row(read, position in guilty))
            if rows[-1] is None:
                waiting[position] = read
        # Only now, with all scores told that others may wait for in turn.
        for position, read in waiting.items():
            rows[position] = self._wait(read)
        return [row for row in rows if row is not None]

    def finish(self) -> None:
        """Says that the unit is written."""
        self._work.desk.finish(self._name, self._timed())

    def _ahead(self, inputs: list[Found]) -> Iterator[_Read]:
        reads: deque[Future[_Read]] = deque()
        for found in inputs:
            reads.append(self._readers.submit(self._read, found))
            if len(reads) >= READ_AHEAD:
                yield reads.popleft().result()
        while reads:
            yield reads.popleft().result()

    def _read(self, found: Found) -> _Read:
        fetched = Fetched(error=found.error) if found.error else fetch(found.path, self._work.tries)
        if fetched.error:
            return _Read(found, fetched)
        sha256 = hashlib.sha256(fetched.data).hexdigest()
        known = self._work.desk.ask(sha256, self._name) if self._work.deduplicate else Claim.YOURS
        return _Read(found, fetched if known is Claim.YOURS else replace(fetched, data=b""), sha256, known)

    def _row(self, read: _Read, blamed: bool) -> CatalogueRow | None:
        """Makes an input's row, or None where another unit is scoring its bytes."""
        if read.fetched.error or read.sha256 is None:
            return self._finished(read, failed("", read.fetched.error or UnreadableFileError("no bytes")))
        known = self._own.get(read.sha256, read.known)
        if isinstance(known, Row):
            return self._finished(read, known, duplicate=True)
        if known is Claim.WAIT:
            return None
        row = failed("", _GUILTY) if blamed else self._work.judge(read.fetched.data)
        if self._work.deduplicate:
            self._own[read.sha256] = row
            self._work.desk.tell({read.sha256: row})
        return self._finished(read, row)

    def _wait(self, read: _Read) -> CatalogueRow:
        deadline = time.monotonic() + _PATIENCE_S
        sha256 = read.sha256 or ""
        while True:
            known = self._work.desk.ask(sha256, self._name, insist=time.monotonic() > deadline)
            if isinstance(known, Row):
                return self._finished(read, known, duplicate=True)
            if known is Claim.YOURS:
                row = self._row(self._read(read.found), False)
                if row is not None:
                    return row
            time.sleep(_POLL_S)

    def _finished(self, read: _Read, row: Row, *, duplicate: bool = False) -> CatalogueRow:
        self._count += Count(done=1, failed=int(bool(row.error)))
        if time.monotonic() - self._noted > _NOTE_EVERY_S:
            self._noted = time.monotonic()
            self._work.desk.note(self._name, self._timed())
        return CatalogueRow(
            row=replace(row, path=printable(read.found.path)),
            sha256=read.sha256,
            model_sha256=self._work.model_sha256,
            retries=read.fetched.retries,
            duplicate=duplicate,
        )

    def _timed(self) -> Count:
        return replace(self._count, seconds=time.monotonic() - self._started)
