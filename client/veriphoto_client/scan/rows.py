"""The row that stands for one file, and how it is written in each format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from veriphoto.errors import VeriphotoError
from veriphoto_client.scan.stamps import UNKNOWN, Stamp
from veriphoto_client.sdk.detection import Detection

COLUMNS: Final = ("path", "verdict", "probability", "confidence", "model_version", "error", "size", "modified")
"""Fields of a row, in order."""
COLUMNS_WITHOUT_STAMP: Final = COLUMNS[:-2]
"""Of an older layout, whose paths may be relative to a folder that nobody knows."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_QUOTED: Final = frozenset('",;\t\r\n')


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One file's line. Either ``error`` is empty or verdict, probability, confidence and model version are None."""

    path: str
    """Absolute, valid UTF-8: bytes of a name that are not are written as in Python's ``\\udcff``."""
    verdict: str | None = None
    probability: float | None = None
    """Calibrated probability that the picture is AI-generated, to six digits."""
    confidence: str | None = None
    model_version: int | None = None
    error: str = ""
    """``[code] message``."""
    size: int | None = None
    """Bytes of the file before it was read, as far as known."""
    modified: str | None = None
    """When it was last modified then; see ``Stamp``."""

    @property
    def stamp(self) -> Stamp:
        """Size and time of the file that the row is about."""
        return Stamp(self.size, self.modified)


def scored(path: str, detection: Detection, stamp: Stamp = UNKNOWN) -> Row:
    """Makes the row of a picture that has a verdict."""
    verdict = detection.verdict
    return Row(
        path=printable(path),
        verdict=verdict.verdict,
        probability=round(verdict.probability, 6),
        confidence=verdict.confidence,
        model_version=verdict.model_version,
        size=stamp.size,
        modified=stamp.modified,
    )


def failed(path: str, error: VeriphotoError, stamp: Stamp = UNKNOWN) -> Row:
    """Makes the row of a file that could not be scored."""
    return Row(path=printable(path), error=printable(error.to_wire()), size=stamp.size, modified=stamp.modified)


def printable(text: str) -> str:
    """Returns a path as it stands in rows: what is not UTF-8 in a file name is escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def csv_line(row: Row) -> str:
    """Writes a row as CSV (RFC 4180 with line feeds), harmless in a spreadsheet."""
    # A name such as `=cmd()` would run as a formula; with ./ in front it is the same file and plain text.
    path = f"./{row.path}" if row.path.startswith(_FORMULA) else row.path
    probability = "" if row.probability is None else f"{row.probability:.6f}"
    version = "" if row.model_version is None else str(row.model_version)
    size = "" if row.size is None else str(row.size)
    cells = (path, row.verdict or "", probability, row.confidence or "", version, row.error, size, row.modified or "")
    return ",".join(map(_cell, cells)) + "\n"


def json_line(row: Row) -> str:
    """Writes a row as one line of JSON."""
    return json.dumps(asdict(row), ensure_ascii=False) + "\n"


def table_line(row: Row) -> str:
    """Writes a row for people, one line whatever the file's name holds."""
    short = row.path.removeprefix(os.getcwd().rstrip(os.sep) + os.sep)  # noqa: PTH109
    path = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in short)
    if row.error:
        return f"{'error':<12}  {'':>11}  {'':<10}  {path}  {row.error}\n"
    return f"{row.verdict:<12}  {row.probability:>11.4f}  {row.confidence:<10}  {path}\n"


@dataclass(frozen=True, slots=True)
class Format:
    """How rows become text."""

    header: str
    line: Callable[[Row], str]


CSV: Final = Format(",".join(COLUMNS) + "\n", csv_line)
JSONL: Final = Format("", json_line)
TABLE: Final = Format(f"{'verdict':<12}  {'probability':>11}  {'confidence':<10}  path\n", table_line)


def _cell(text: str) -> str:
    # The csv module leaves a lone carriage return unquoted before Python 3.13, and semicolons always, at which some
    # spreadsheets split.
    return '"' + text.replace('"', '""') + '"' if not _QUOTED.isdisjoint(text) else text
