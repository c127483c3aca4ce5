"""Follows the prediction log: several writers, segments that appear and vanish, broken and incomplete lines."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veriphoto.prediction_log.record import SEGMENT_GLOB, Record

CHUNK: Final = 128 * 1024
"""Bytes of one segment to read at once; a line is far shorter."""

_NAME: Final = re.compile(r"predictions-(?P<writer>.+)-(?P<begin>\d+)\.jsonl")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Some lines of one segment."""

    segment: str
    """Name of the file."""
    offset: int
    """Where to continue, in bytes."""
    records: list[Record]
    """In the order of the lines, without canaries, probes and self-checks."""
    bad: int
    """Number of lines that were not records."""


@dataclass(frozen=True, slots=True)
class _Open:
    path: Path
    size: int
    closed: bool
    """Whether its writer has started another segment since."""


class Tail:
    """Reads new lines of a log directory. The caller stores the offsets."""

    def __init__(self, directory: Path, offsets: Mapping[str, int]) -> None:
        """Continues where an earlier tail stopped.

        Args:
            directory: Directory of the log; it need not exist yet.
            offsets: Bytes done, by segment.
        """
        self._directory = directory
        self._offsets = dict(offsets)
        self._reached: dict[str, float] = {}
        self._refused: set[Path] = set()

    def reachable(self) -> bool:
        """Returns whether the directory, and each of its segments tried so far, can be read."""
        try:
            next(self._directory.iterdir(), None)
            self._refused = {path for path in self._refused if path.exists()}
        except OSError:
            return False
        return not self._refused

    def read(self) -> Chunk | None:
        """Reads some lines of the writer that is furthest behind, so that writers stay interleaved while catching up.

        Returns:
            The lines, or None if nothing is new. An incomplete line is left until it is complete, or until its writer
            has started another segment.
        """
        waiting = self._waiting()
        for writer in sorted(waiting, key=lambda writer: self._reached.get(writer, float("-inf"))):
            for segment in waiting[writer]:
                chunk = self._read(segment)
                if chunk is None:
                    continue
                self._offsets[chunk.segment] = chunk.offset
                if chunk.records:
                    self._reached[writer] = chunk.records[-1].time
                return chunk
        return None

    def _waiting(self) -> dict[str, list[_Open]]:
        found: dict[str, list[tuple[int, Path]]] = defaultdict(list)
        try:
            for path in self._directory.glob(SEGMENT_GLOB):
                name = _NAME.fullmatch(path.name)
                found[name["writer"] if name else path.name].append((int(name["begin"]) if name else 0, path))
        except OSError:
            return {}
        waiting: dict[str, list[_Open]] = {}
        for writer, segments in found.items():
            segments.sort()
            newest = segments[-1][1]
            opened = [_Open(path, _size(path), path != newest) for _, path in segments]
            rest = [one for one in opened if one.size > self._offsets.get(one.path.name, 0)]
            if rest:
                waiting[writer] = rest
        return waiting

    def _read(self, segment: _Open) -> Chunk | None:
        offset = self._offsets.get(segment.path.name, 0)
        try:
            with segment.path.open("rb") as file:
                file.seek(offset)
                data = file.read(min(CHUNK, segment.size - offset))
        except FileNotFoundError:
            # Its writer has deleted it to limit the size of the log.
            _log.warning("%s was deleted before it was read to its end", segment.path.name)
            return None
        except OSError as error:
            if segment.path not in self._refused:
                _log.warning("%s cannot be read (%s): may this user read it?", segment.path.name, type(error).__name__)
            self._refused.add(segment.path)
            return None
        self._refused.discard(segment.path)
        whole = data.rfind(b"\n") + 1
        if not whole:
            if not segment.closed and len(data) < CHUNK:
                return None
            whole = len(data)  # truncated for good, or longer than any line
        records, bad = _parse(data[:whole])
        return Chunk(segment=segment.path.name, offset=offset + whole, records=records, bad=bad)


def _parse(data: bytes) -> tuple[list[Record], int]:
    records, bad = [], 0
    for line in data.splitlines():
        try:
            record = Record.from_line(line)
        except ValueError:
            bad += 1
            continue
        if not record.probe:
            records.append(record)
    return records, bad


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
