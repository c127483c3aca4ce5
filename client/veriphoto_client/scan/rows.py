"""The output row of a file, and its text in each format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from veriphoto.errors import VeriphotoError
from veriphoto.visible import visible
from veriphoto_client.scan.stamps import UNKNOWN, Stamp
from veriphoto_client.sdk.detection import Detection

COLUMNS: Final = ("path", "verdict", "probability", "confidence", "model_version", "error", "size", "modified")
"""Fields of a row, in order."""
COLUMNS_WITHOUT_STAMP: Final = COLUMNS[:-2]
"""Columns of an older layout, whose paths may be relative to an unknown folder."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_QUOTED: Final = frozenset('",;\t\r\n')


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The row of one file: either a verdict with probability, confidence and model version, or an error."""

    path: str
    """Absolute path as valid UTF-8; other bytes of a name are escaped as in Python's ``\\udcff``."""
    verdict: str | None = None
    probability: float | None = None
    """Calibrated probability that the picture is AI-generated, to six digits."""
    confidence: str | None = None
    model_version: int | None = None
    error: str = ""
    """``[code] message``."""
    size: int | None = None
    """Size of the file in bytes before it was read, if known."""
    modified: str | None = None
    """Time of its last modification before it was read; see ``Stamp``."""

    @property
    def stamp(self) -> Stamp:
        """Size and time of the file when it was scored."""
        return Stamp(self.size, self.modified)


def scored(path: str, detection: Detection, stamp: Stamp = UNKNOWN) -> Row:
    """Returns the row of a photo that was scored."""
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
    """Returns the row of a file that could not be scored."""
    return Row(path=printable(path), error=printable(error.to_wire()), size=stamp.size, modified=stamp.modified)


def printable(text: str) -> str:
    """Returns a text as valid UTF-8, with the invalid bytes of a file name escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def csv_line(row: Row) -> str:
    """Returns a row as CSV (RFC 4180 with line feeds) that is safe to open in a spreadsheet."""
    # A spreadsheet would run a name such as `=cmd()` as a formula; ./ in front makes it text and names the same file.
    path = f"./{row.path}" if row.path.startswith(_FORMULA) else row.path
    probability = "" if row.probability is None else f"{row.probability:.6f}"
    version = "" if row.model_version is None else str(row.model_version)
    size = "" if row.size is None else str(row.size)
    cells = (path, row.verdict or "", probability, row.confidence or "", version, row.error, size, row.modified or "")
    return ",".join(map(_cell, cells)) + "\n"


def json_line(row: Row) -> str:
    """Returns a row as one line of JSON."""
    return json.dumps(asdict(row), ensure_ascii=False) + "\n"


def table_line(row: Row) -> str:
    """Returns a row as one line of a table, without the control characters of a file name."""
    path = visible(row.path.removeprefix(os.getcwd().rstrip(os.sep) + os.sep))  # noqa: PTH109
    if row.error:
        return f"{'error':<12}  {'':>11}  {'':<10}  {path}  {row.error}\n"
    return f"{row.verdict:<12}  {row.probability:>11.4f}  {row.confidence:<10}  {path}\n"


@dataclass(frozen=True, slots=True)
class Format:
    """A text format: its header, and a function that formats a row."""

    header: str
    line: Callable[[Row], str]


CSV: Final = Format(",".join(COLUMNS) + "\n", csv_line)
JSONL: Final = Format("", json_line)
TABLE: Final = Format(f"{'verdict':<12}  {'probability':>11}  {'confidence':<10}  path\n", table_line)


def _cell(text: str) -> str:
    # The csv module leaves a lone carriage return unquoted before Python 3.13, and semicolons always, at which some
    # spreadsheets split.
    return '"' + text.replace('"', '""') + '"' if not _QUOTED.isdisjoint(text) else text
