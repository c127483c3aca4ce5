"""S3 Inventory's rows: bucket and key instead of a URI, keys URL-encoded, CSV without a header."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote, unquote_plus

from veriphoto_client.scan.stamps import UNKNOWN, Stamp
from veriphoto_client.scan.walk import Found

_NEEDED: Final = ("bucket", "key")
_USED: Final = (*_NEEDED, "islatest", "isdeletemarker", "size", "lastmodifieddate")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_BOOLS: Final = ("true", "false")


def columns(names: Sequence[str]) -> dict[str, int] | None:
    """Finds the columns of an inventory.

    Args:
        names: The names of all columns, spelt as in a CSV's schema (``LastModifiedDate``) or as in Parquet
            (``last_modified_date``).

    Returns:
        Positions of the columns that are used, by their plain names; None if this is not an inventory.
    """
    plain = [re.sub(r"[^a-z]", "", name.lower()) for name in names]
    found: dict[str, int] = {name: plain.index(name) for name in _USED if name in plain}
    return found if all(name in found for name in _NEEDED) else None


def names_without_header(records: Sequence[Sequence[str]]) -> list[str] | None:
    """Guesses the column names of an inventory's CSV, which has no header, from its first records.

    Args:
        records: The first two records, or the only one.

    Returns:
        One name per column; None if this does not look like an inventory.
    """
    if not records or len(records[0]) < 2 or not _BUCKET.fullmatch(records[0][0]):
        return None
    first = records[0]
    if columns(first) or any(record[0] != first[0] for record in records):
        return None  # a header, or a first column that is no bucket
    names = ["Bucket", "Key"]
    if len(first) > 4 and first[3].lower() in _BOOLS and first[4].lower() in _BOOLS:
        names += ["VersionId", "IsLatest", "IsDeleteMarker"]
    rest = first[len(names) :]
    if len(rest) > 1 and rest[0].isdigit() and _time(rest[1]) is not None:
        names += ["Size", "LastModifiedDate"]
    return names + [f"column {number}" for number in range(len(names), len(first))]


def found(values: Mapping[str, Sequence[Any]], *, plus_is_blank: bool) -> Iterator[Found]:
    """Turns rows into inputs: newest versions only, no deleted objects and no folders.

    Args:
        values: Columns by their plain names.
        plus_is_blank: Whether ``+`` stands for a space, as in the CSV format. All formats use ``%20`` and the like.
    """
    decode = unquote_plus if plus_is_blank else unquote
    for row in zip(*values.values(), strict=True):
        entry = dict(zip(values, row, strict=True))
        bucket, key = entry["bucket"], entry["key"]
        old = str(entry.get("islatest")).lower() == "false" or str(entry.get("isdeletemarker")).lower() == "true"
        if bucket and key and not old and not key.endswith("/"):
            yield Found(f"s3://{bucket}/{decode(key)}", stamp=_stamp(entry.get("size"), entry.get("lastmodifieddate")))


def _stamp(size: Any, modified: Any) -> Stamp:
    when = modified if isinstance(modified, datetime) else _time(str(modified))
    if when is None or not str(size).isdigit():
        return UNKNOWN
    whole = when if when.tzinfo else when.replace(tzinfo=UTC)
    return Stamp.of(int(size), int(whole.timestamp()) * 1_000_000_000 + whole.microsecond * 1000)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
