"""The picture of a case: read from where it lies, and only if it still is the one that was scored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto.errors import ImageError, MissingExtraError, UnreadableFileError
from veriphoto.files import replace_bytes
from veriphoto_review.cases.case import Case

_METADATA_S: Final = 3.0
"""How long reading a picture's metadata may take: the first time half a second goes to loading the C2PA library."""
# As in the gateway, hostile metadata blocks these two threads at most.
_READERS: Final = ThreadPoolExecutor(2, "provenance")


def placed(reference: str, request_id: str) -> str:
    """Returns a reference as the place of a picture; empty where it is an id or a digest of ours."""
    return "" if reference == request_id or reference.startswith("sha256:") else reference


def place_of(case: Case) -> str:
    """Returns the path or URI of a case's picture; empty where the case names none."""
    if case.picture:
        return case.picture
    if case.extra and case.extra.get("path"):
        return str(case.extra["path"])
    return placed(case.reference, case.request_id)


def read_picture(case: Case) -> bytes:
    """Reads the file of a case: our own copy where there is one, else from its path or URI.

    Raises:
        UnreadableFileError: If it is gone, has changed, or the case names no place; the message is for people.
    """
    place = place_of(case)
    bare = "/" not in place and not Path(place).exists()  # a name of the operator's own
    if not place or bare:
        raise UnreadableFileError("no photo is known for this case")
    return read_at(place, case.sha256)


def read_at(reference: str, sha256: str) -> bytes:
    """Reads a file that must be the one that was scored.

    Args:
        reference: Its path or URI.
        sha256: Of what was scored; empty where that is not known.

    Raises:
        UnreadableFileError: If it is gone or has changed.
    """
    data = _read(reference)
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadableFileError("the file has changed since it was scored; the picture that was scored is gone")
    return data


def claims_of(case: Case, data: bytes) -> Mapping[str, Any] | None:
    """Returns what a picture's metadata claims: as the case has it, else read from the file as the gateway reads it.

    Args:
        case: The case.
        data: The bytes of its picture; empty where that is not at hand.

    Returns:
        The claims, as in the gateway's answers; None where neither has them.
    """
    if case.provenance or not data:
        return case.provenance or None
    try:
        from veriphoto_client.metadata.provenance import UNKNOWN, inspect  # noqa: PLC0415 - comes with the extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("review", error.name) from error
    try:
        return _READERS.submit(inspect, data).result(_METADATA_S).to_json()
    except TimeoutError:
        return UNKNOWN.to_json()


def keep(folder: Path, data: bytes) -> Path:
    """Keeps a copy of a picture under its sha256.

    Args:
        folder: Made, for the owner alone, where there is none.
        data: The file.

    Raises:
        OSError: If the disk refuses.
    """
    name = hashlib.sha256(data).hexdigest()
    path = folder / name[:2] / name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        replace_bytes(path, data, durable=True)
    return path


def _read(reference: str) -> bytes:
    try:
        from veriphoto_client.sources.reading import fetch  # noqa: PLC0415 - pyarrow is slow to import
    except ModuleNotFoundError as error:
        raise MissingExtraError("review", error.name) from error
    found = fetch(reference, tries=2)
    if found.error is not None or len(found.data) > MAX_FILE_BYTES:
        raise UnreadableFileError(_reason(found.error))
    return found.data


def _reason(error: ImageError | None) -> str:
    return f"the picture cannot be read: {error.message}" if error else "the picture is too large"
