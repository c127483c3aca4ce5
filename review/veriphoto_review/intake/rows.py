"""One imported row: what it says, under the names that scans, the gateway and the log use."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from veriphoto.foreign_json import parse
from veriphoto.shared_names import LONGEST_REFERENCE
from veriphoto.verdict import Label
from veriphoto_review.cases.pictures import placed
from veriphoto_review.database.connection import clean

_VERDICTS: Final[tuple[Label, ...]] = ("real", "ai_generated", "unsure")
_REFERENCES: Final = ("reference", "path", "uri", "filename", "request_id")
"""The first of these that a row has names its picture."""
_PLACES: Final = ("path", "uri")
"""The first of these that a row has says where its picture lies."""
_TIMES: Final = ("seen_at", "time")
_KNOWN: Final = frozenset(
    {
        *_REFERENCES,
        *_TIMES,
        *("verdict", "prediction", "probability", "confidence", "reason", "model_version", "threshold", "unsure_band"),
        *("unsure_low", "unsure_high", "sha256", "shop", "seller", "provenance", "evidence", "error"),
        *("inference_time_ms", "retries", "duplicate"),  # of no use to a reviewer
    }
)
FIELDS: Final = ("reference", "path", "sha256", "request_id", "shop", "seller", "evidence", "seen_at")
"""What a column of another name may be said to be."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a row says of one picture. ``rest`` is the row itself, for the few that become a case."""

    reference: str
    sha256: str
    stamp: str
    """Size and time of the file when it was scored: tells a replaced picture where there is no sha256."""
    verdict: str
    probability: float
    model_version: int
    shop: str
    seen_at: float
    rest: Mapping[str, Any]

    @property
    def key(self) -> bytes:
        """Names the answer: the same picture, at the same place, by the same version."""
        return _key(self.reference, self.sha256 or self.stamp, self.model_version)

    @property
    def key_without_stamp(self) -> bytes:
        """Key of the same answer in a database whose imports did not look at the stamp."""
        return _key(self.reference, self.sha256, self.model_version)

    @property
    def place(self) -> str:
        """Where the picture lies, as a path or URI; empty where the row does not say."""
        given = next((clean(self.rest[name]) for name in _PLACES if self.rest.get(name)), "")
        return given or placed(self.reference, clean(self.rest.get("request_id")))

    @property
    def month(self) -> str:
        """``2026-11``, UTC."""
        return datetime.fromtimestamp(self.seen_at, UTC).strftime("%Y-%m")


def read_answer(row: Any, columns: Mapping[str, str], shop: str, written: float) -> Answer | None:
    """Reads a row.

    Args:
        row: A dictionary of text (CSV) or values (JSON, Parquet).
        columns: Column's name -> ours, for rows that name things otherwise.
        shop: Shop of a row that names none.
        written: Time of a row that has none.

    Returns:
        The answer; None for a row of a file that could not be scored.

    Raises:
        ValueError: If it is no answer; the message says why.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"not an object: {row!r}")
    named = {columns.get(name, name): value for name, value in row.items()} if columns else row
    if named.get("error") or not named.get("verdict"):
        if named.get("error"):
            return None
        raise ValueError("no verdict")
    verdict = named["verdict"]
    if verdict not in _VERDICTS:
        raise ValueError(f"verdict {str(verdict)[:40]!r}")
    reference = next((clean(named[name]) for name in _REFERENCES if named.get(name)), "")
    sha256 = str(named.get("sha256") or "").lower()
    if sha256 and not _SHA256.fullmatch(sha256):
        raise ValueError(f"sha256 {sha256[:80]!r}")
    if not (reference or sha256):
        raise ValueError("neither path, reference, request_id nor sha256")
    shop = clean(named.get("shop") or shop)
    for name, text in (("reference", reference), ("shop", shop), ("seller", clean(named.get("seller")))):
        if len(text.encode()) > LONGEST_REFERENCE:
            raise ValueError(f"its {name} has more than {LONGEST_REFERENCE} bytes")
    return Answer(
        reference=reference or f"sha256:{sha256}",
        sha256=sha256,
        stamp=f"{clean(named.get('size'))} {clean(named.get('modified'))}".strip(),
        verdict=str(verdict),
        probability=_share(named.get("probability"), "probability"),
        model_version=_version(named.get("model_version")),
        shop=shop,
        seen_at=_time(named, written),
        rest=named,
    )


def details(answer: Answer) -> dict[str, Any]:
    """Returns the columns of a case that only a case needs."""
    row = answer.rest
    low, high = _band(row)
    threshold = _optional(row.get("threshold"))
    cut = 0.5 if threshold is None else threshold
    extra = {clean(name): plain(value) for name, value in row.items() if name and _worth(name, value)}
    if answer.place and answer.place != answer.reference:
        extra["path"] = answer.place
    side = answer.verdict if answer.verdict != "unsure" else ("ai_generated" if answer.probability >= cut else "real")
    return {
        "request_id": clean(row.get("request_id"))[:128],
        "seller": clean(row.get("seller")),
        "prediction": side,
        "confidence": clean(row.get("confidence"))[:8],
        "reason": clean(row.get("reason"))[:16],
        "threshold": threshold,
        "unsure_low": low,
        "unsure_high": high,
        "evidence": clean(row.get("evidence")) if not isinstance(row.get("evidence"), list) else "",
        "provenance": _json(row.get("provenance")),
        "extra": extra or None,
    }


def plain(value: Any) -> Any:
    """Returns a value as JSON has it."""
    if isinstance(value, Mapping):
        return {clean(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return clean(value)


def _key(reference: str, content: str, model_version: int) -> bytes:
    text = f"{reference}\0{content}\0{model_version}".encode("utf-8", "backslashreplace")
    return hashlib.blake2b(text, digest_size=16).digest()


def _worth(name: Any, value: Any) -> bool:
    return name not in _KNOWN and value not in (None, "")


def _json(value: Any) -> Any:
    if isinstance(value, str) and value:
        try:
            value = parse(value)
        except ValueError:
            return {"text": clean(value)}
    return plain(value) if isinstance(value, Mapping) else None


def _band(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    band = row.get("unsure_band")
    if isinstance(band, str) and band:
        try:
            band = parse(band)
        except ValueError:
            band = None
    if isinstance(band, list | tuple) and len(band) == 2:
        return _optional(band[0]), _optional(band[1])
    return _optional(row.get("unsure_low")), _optional(row.get("unsure_high"))


def _optional(value: Any) -> float | None:
    number = _number(value)
    return number if 0.0 <= number <= 1.0 else None


def _share(value: Any, name: str) -> float:
    number = _number(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} {_shown(value)}")
    return number


def _version(value: Any) -> int:
    number = _number(value)  # spreadsheets and pandas write 2.0 where some rows have none
    if not (0 <= number < 2**31 and number.is_integer()):
        raise ValueError(f"model_version {_shown(value)}")
    return int(number)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):  # JSON writes integers of any length
        return math.nan


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _time(row: Mapping[str, Any], written: float) -> float:
    for name in _TIMES:
        value = row.get(name)
        if value in (None, ""):
            continue
        number = _number(value)
        if math.isnan(number):
            number = _seconds(value)
        if not 0.0 <= number < 253_402_300_800.0:  # to the year 9999
            raise ValueError(f"{name} {_shown(value)}")
        return number
    return written


def _seconds(value: Any) -> float:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
