"""Scores units for an actor: reads ahead, scores, and writes part files."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from veriphoto.errors import CorruptImageError, UnreadableFileError
from veriphoto_client.catalogue.ledger import Claim
from veriphoto_client.catalogue.plan import Unit
from veriphoto_client.catalogue.rows import CatalogueRow, table
from veriphoto_client.catalogue.standing import local_stamp, read_part
from veriphoto_client.catalogue.tally import Count
from veriphoto_client.local.model import Judge
from veriphoto_client.scan.rows import Row, failed, printable
from veriphoto_client.scan.stamps import UNKNOWN
from veriphoto_client.scan.walk import Found
from veriphoto_client.sources import storage
from veriphoto_client.sources.places import Place
from veriphoto_client.sources.reading import Fetched, fetch

READ_AHEAD: Final = 8
"""Number of inputs in memory, of at most 20 MB each."""
_NOTE_EVERY_S: Final = 2.0
_POLL_S: Final = 0.2
_PATIENCE_S: Final = 30.0
"""How long to wait for another unit's score of the same bytes; that unit may be waiting for this actor."""
_GUILTY: Final = CorruptImageError("the picture ended each process that scored it; look at it with care")


class SharedState(Protocol):
    """The state that the units of a scan share; see ``Tally`` and ``Ledger``."""

    def begin(self, unit: str) -> tuple[bool, set[int]]: ...  # noqa: D102
    def working(self, unit: str, position: int) -> None: ...  # noqa: D102
    def note(self, unit: str, count: Count) -> None: ...  # noqa: D102
    def finish(self, unit: str, count: Count) -> None: ...  # noqa: D102
    def ask(self, sha256: str, owner: str, *, insist: bool = False) -> Row | Claim: ...  # noqa: D102
    def tell(self, rows: dict[str, Row]) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Work:
    """The settings and tools that all units of a scan share."""

    judge: Judge
    model_sha256: str
    output: Place
    desk: SharedState
    tries: int
    deduplicate: bool


def score_unit(unit: Unit, work: Work, readers: ThreadPoolExecutor) -> int:
    """Scores a unit and writes its part file, unless that exists and no input is to be scored again.

    Args:
        unit: The unit to score.
        work: Settings and tools of the scan.
        readers: Threads that read ahead.

    Returns:
        The number of inputs scored.
    """
    part = work.output.child(*unit.part)
    held: list[dict[str, Any]] = []
    if storage.exists(part):
        if not unit.again:
            return 0
        held = read_part(part)
    scorer = _UnitScorer(unit, work, readers)
    scored = scorer.rows(unit.again if held else range(unit.rows))
    rows = dict(enumerate(held)) | {position: row.values() for position, row in scored.items()}
    storage.put_tables(part, [table([rows[position] for position in sorted(rows)])])
    scorer.finish()
    return len(scored)


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

    def rows(self, positions: Collection[int]) -> dict[int, CatalogueRow]:
        """Scores inputs, in order, by their positions in the unit."""
        inputs, again = self._unit.inputs(self._work.output), self._unit.again
        chosen = {at: replace(inputs[at], stamp=again.get(at, inputs[at].stamp)) for at in sorted(positions)}
        careful, guilty = self._work.desk.begin(self._name)
        rows: dict[int, CatalogueRow] = {}
        waiting: dict[int, _Read] = {}
        for position, read in zip(chosen, self._ahead(chosen.values()), strict=True):
            if careful:
                self._work.desk.working(self._name, position)
            row = self._row(read, position in guilty)
            if row is None:
                waiting[position] = read
            else:
                rows[position] = row
        # Last, so that all scores are known that other units may be waiting for.
        for position, read in waiting.items():
            if careful:
                self._work.desk.working(self._name, position)
            rows[position] = self._wait(read, position in guilty)
        return rows

    def finish(self) -> None:
        """Reports that the unit is written."""
        self._work.desk.finish(self._name, self._timed())

    def _ahead(self, inputs: Iterable[Found]) -> Iterator[_Read]:
        reads: deque[Future[_Read]] = deque()
        for found in inputs:
            reads.append(self._readers.submit(self._read, found))
            if len(reads) >= READ_AHEAD:
                yield reads.popleft().result()
        while reads:
            yield reads.popleft().result()

    def _read(self, found: Found) -> _Read:
        found = replace(found, stamp=local_stamp(found.path) or found.stamp)  # before it is read
        fetched = Fetched(error=found.error) if found.error else fetch(found.path, self._work.tries)
        if fetched.error:
            return _Read(found, fetched)
        sha256 = hashlib.sha256(fetched.data).hexdigest()
        known = self._work.desk.ask(sha256, self._name) if self._work.deduplicate else Claim.YOURS
        return _Read(found, fetched if known is Claim.YOURS else replace(fetched, data=b""), sha256, known)

    def _row(self, read: _Read, blamed: bool) -> CatalogueRow | None:
        """Returns an input's row, or None if another unit is scoring its bytes."""
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

    def _wait(self, read: _Read, blamed: bool) -> CatalogueRow:
        deadline = time.monotonic() + _PATIENCE_S
        sha256 = read.sha256 or ""
        while True:
            known = self._work.desk.ask(sha256, self._name, insist=time.monotonic() > deadline)
            if isinstance(known, Row):
                return self._finished(read, known, duplicate=True)
            if known is Claim.YOURS:
                row = self._row(self._read(read.found), blamed)
                if row is not None:
                    return row
            time.sleep(_POLL_S)

    def _finished(self, read: _Read, row: Row, *, duplicate: bool = False) -> CatalogueRow:
        self._count += Count(done=1, failed=int(bool(row.error)))
        if time.monotonic() - self._noted > _NOTE_EVERY_S:
            self._noted = time.monotonic()
            self._work.desk.note(self._name, self._timed())
        stamp = read.found.stamp or UNKNOWN
        path = printable(read.found.path)
        return CatalogueRow(
            row=replace(row, path=path, size=stamp.size, modified=stamp.modified),
            sha256=read.sha256,
            model_sha256=self._work.model_sha256,
            retries=read.fetched.retries,
            duplicate=duplicate,
        )

    def _timed(self) -> Count:
        return replace(self._count, seconds=time.monotonic() - self._started)
