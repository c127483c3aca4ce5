"""The prediction log: what the server notes about each answer, and nothing that could identify a picture.

One JSON object a line, in segments that are only ever appended to: a writer that rotates opens a segment with a new
name and never renames one, so a reader needs a name and an offset to go on where it stopped. Standard library only.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

from veriphoto.contract import CONTRACT, FORMATS

SEGMENT_GLOB: Final = "predictions-*.jsonl"
"""Segments of a log directory; their names sort by age within one writer."""

PROBE_PREFIX: Final = "probe-"
"""Begin of the request ids of canaries and self-checks: logged, never counted as traffic."""

MAX_REQUEST_ID: Final = 128
"""Longer request ids are cut."""

_GENERATED: Final = re.compile(
    rf"{PROBE_PREFIX}[a-z0-9-]*"
    r"|([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32,64}|[0-9A-HJKMNP-TV-Z]{26})(#\d{1,6})?"
)
_DIGITS: Final = {"time": 3, "logit": 5, "probability": 6}
_STATISTIC_DIGITS: Final = 4


def as_logged(field: str, value: float) -> float:
    """Rounds a number as a line of the log has it: what is compared with logged numbers must be rounded like them.

    Args:
        field: Of ``Record``, or the name of a statistic.
        value: Of it.
    """
    return round(value, _DIGITS.get(field, _STATISTIC_DIGITS))


def segment_name(writer: str, nanoseconds: int) -> str:
    """Returns the name of a new segment.

    Args:
        writer: One word that no other writer of the directory uses.
        nanoseconds: Time at which it begins.
    """
    return f"predictions-{writer}-{nanoseconds:020d}.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One line: one picture that was scored.

    Raises:
        ValueError: If a number is not finite or a statistic is missing.
    """

    time: float
    """Seconds since the epoch, at the server."""
    request_id: str
    """As the caller named it where it was plainly generated, else empty: it could be a file name."""
    model_version: int
    logit: float
    probability: float
    verdict: str
    statistics: tuple[float, ...]
    """In the order of ``Contract.statistics``."""
    asked: bool = False
    """Whether the second opinion was asked."""
    first_logit: float | None = None
    """The classifier's own logit; None in lines of releases that had no other."""

    def __post_init__(self) -> None:
        if len(self.statistics) != len(CONTRACT.statistics):
            raise ValueError(f"expected {len(CONTRACT.statistics)} statistics, not {len(self.statistics)}")
        if not all(
            map(math.isfinite, (self.time, self.logit, self.probability, self.first_logit or 0.0, *self.statistics))
        ):
            raise ValueError("a number of the record is not finite")

    @property
    def probe(self) -> bool:
        """Whether a canary or a self-check asked, not a user."""
        return self.request_id.startswith(PROBE_PREFIX)

    def statistic(self, name: str) -> float:
        """Returns one statistic by its name in the contract."""
        return self.statistics[CONTRACT.statistics.index(name)]

    def to_line(self) -> str:
        """Returns the record as one line of JSON, newline included."""
        body: dict[str, Any] = {
            "time": as_logged("time", self.time),
            "request_id": self.request_id[:MAX_REQUEST_ID],
            "model_version": self.model_version,
            "logit": as_logged("logit", self.logit),
            "probability": as_logged("probability", self.probability),
            "verdict": self.verdict,
        }
        if self.first_logit is not None:
            body |= {"asked": self.asked, "first_logit": as_logged("logit", self.first_logit)}
        for name, value in zip(CONTRACT.statistics, self.statistics, strict=True):
            body[name] = FORMATS[int(value)] if name == "format" else as_logged(name, value)
        return json.dumps(body, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> Record:
        """Reads a line.

        Args:
            line: With or without its newline.

        Raises:
            ValueError: If it is no complete record: cut off, not JSON, a field missing or of another kind.
        """
        try:
            body = json.loads(line)
            return cls(
                time=float(body["time"]),
                request_id=str(body["request_id"]),
                model_version=int(body["model_version"]),
                logit=float(body["logit"]),
                probability=float(body["probability"]),
                verdict=str(body["verdict"]),
                statistics=tuple(
                    float(FORMATS.index(body[name]) if name == "format" else body[name]) for name in CONTRACT.statistics
                ),
                asked=bool(body.get("asked", False)),
                first_logit=None if body.get("first_logit") is None else float(body["first_logit"]),
            )
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no record of the prediction log: {type(error).__name__}") from error


def keep_id(request_id: str) -> str:
    """Returns a request id if it may be kept.

    A caller may use a file name as an id, and file names are never stored. So an id is kept only if it was plainly
    generated: a UUID, 32 to 64 hexadecimal digits, a ULID, each with the place in a batch behind it (``#3``), or the
    name of a probe of our own.

    Args:
        request_id: As the caller named it.

    Returns:
        The same, or nothing.
    """
    return request_id if _GENERATED.fullmatch(request_id) else ""
