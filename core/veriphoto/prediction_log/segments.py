"""Writes the segments of the prediction log: append only, rotated by size, the oldest deleted first."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from veriphoto.prediction_log.record import SEGMENT_GLOB, Record, segment_name

DEFAULT_MEGABYTES: Final = 1000
"""Default limit for all segments together: about eight hours at 100 pictures a second."""

_MEGA: Final = 1_000_000
_SEGMENT_BYTES: Final = 16 * _MEGA
_WRONG_CLOCK_NS: Final = 3600 * 10**9
"""A segment written to later than so far in the future has its time from a clock that was wrong."""
_SEGMENTS: Final = 8  # at least, so that rotation takes away an eighth of the log at most

_log = logging.getLogger(__name__)


class Segments:
    """Appends records to a log directory. Not thread-safe: one thread owns it.

    After a write error the segment is abandoned and a new one started, so a truncated line is always the last of its
    segment.
    """

    def __init__(self, directory: Path, megabytes: float = DEFAULT_MEGABYTES) -> None:
        """Writes nothing yet; the directory is created when it is needed, and again if somebody removes it.

        Args:
            directory: Directory of the log.
            megabytes: Limit for all segments together; the oldest are deleted to stay below it.
        """
        self.written = 0
        """Lines written so far."""
        self._directory = directory
        self._log_bytes = int(megabytes * _MEGA)
        self._segment_bytes = max(1, min(_SEGMENT_BYTES, self._log_bytes // _SEGMENTS))
        self._writer = secrets.token_hex(4)
        self._began = 0
        self._path: Path | None = None
        self._handle = -1
        self._size = 0
        self._failing = False

    def append(self, records: Sequence[Record]) -> int:
        """Writes as many records as possible now.

        Args:
            records: The records, at most a few hundred.

        Returns:
            How many were written; the caller retries the rest.
        """
        if not records:
            return 0
        lines = [record.to_line().encode() for record in records]
        done = 0
        try:
            while done < len(lines):
                self._ensure_room(len(lines[done]))
                done += self._write(lines[done:])
        except OSError as error:
            self._give_up(error)
            return done
        if self._failing:
            _log.warning("the prediction log can be written again")
            self._failing = False
        return done

    def close(self) -> None:
        """Closes the segment."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _write(self, lines: Sequence[bytes]) -> int:
        """Writes what fits into the segment with one system call."""
        room = max(self._segment_bytes - self._size, len(lines[0]))
        fitting, size = 0, 0
        for line in lines:
            if size + len(line) > room:
                break
            fitting, size = fitting + 1, size + len(line)
        written = os.write(self._handle, b"".join(lines[:fitting]))
        self._size += written
        if written == size:
            self.written += fitting
            return fitting
        # The disk is full. The truncated line is written again, whole, into the next segment.
        self.close()
        whole = 0
        while written >= len(lines[whole]):
            written -= len(lines[whole])
            whole += 1
        self.written += whole
        return whole

    def _ensure_room(self, needed: int) -> None:
        """Starts a segment if there is none, if it is full, or if somebody has deleted it."""
        fits = self._size == 0 or self._size + needed <= self._segment_bytes
        if self._handle >= 0 and fits and os.fstat(self._handle).st_nlink:
            return
        self.close()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._began = max(time.time_ns(), self._began + 1)  # in the order of writing, also where the clock was set back
        self._path = self._directory / segment_name(self._writer, self._began)
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        self._size = 0
        self._prune()

    def _prune(self) -> None:
        """Deletes the segments written to longest ago, until there is room for a whole new one."""
        found = []
        latest = time.time_ns() + _WRONG_CLOCK_NS
        for path in self._directory.glob(SEGMENT_GLOB):
            try:
                state = path.stat()
            except FileNotFoundError:  # another writer deleted it first
                continue
            # Or what was written while the clock was ahead would stay for good, and all that is new be deleted.
            found.append((state.st_mtime_ns if state.st_mtime_ns <= latest else 0, path, state.st_size))
        total = sum(size for _, _, size in found)
        for _, path, size in sorted(found):
            if total <= self._log_bytes - self._segment_bytes:
                return
            if path != self._path:
                path.unlink(missing_ok=True)
                total -= size

    def _give_up(self, error: OSError) -> None:
        if not self._failing:
            _log.warning("the prediction log cannot be written: %s", error.strerror)
            self._failing = True
        try:
            self.close()
            # A disk that stays full must not collect empty files.
            if self._path is not None and self._path.stat().st_size == 0:
                self._path.unlink()
        except OSError:
            self._handle = -1
