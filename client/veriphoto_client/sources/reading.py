"""Reads one input, retrying if its store fails for a moment."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from veriphoto.contract import MAX_FILE_BYTES
from veriphoto.errors import FileTooLargeError, ImageError, UnreadableFileError, UsageError
from veriphoto_client.sdk.images import load
from veriphoto_client.sources.places import Place, place

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_FINAL_STATUS: Final = frozenset({403, 404})
"""HTTP statuses that a retry would not change."""
_STATUS_NAMES: Final = ("status", "status_code", "code")
"""Attributes in which aiohttp, Azure's and Google's clients keep the status, in order of preference."""
_FINAL_TEXT: Final = re.compile(r"AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET)\b|\(HTTP status 40[34]\)|PERMISSION_DENIED:")
"""The same in pyarrow's messages. Never a bare number: a message names the object, whose name may contain one."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of an input, or the reason why they could not be read."""

    data: bytes = b""
    error: ImageError | None = None
    retries: int = 0
    """Attempts after the first."""


def fetch(uri: str, tries: int, *, sleep: Callable[[float], None] = time.sleep) -> Fetched:
    """Reads an input.

    Args:
        uri: A local path or a URI.
        tries: Maximum number of attempts. Local files and objects that do not exist get only one.
        sleep: Called with the seconds to wait between attempts, about twice as long each time.
    """
    retries = 0
    while True:
        try:
            return Fetched(_read(place(uri)), retries=retries)
        except ImageError as error:
            return Fetched(error=error, retries=retries)
        except UsageError as error:
            return Fetched(error=UnreadableFileError(str(error)), retries=retries)
        except Exception as error:  # noqa: BLE001  each store's client has errors of its own
            if retries + 1 >= tries or _final(error):
                return Fetched(error=UnreadableFileError(f"{uri} cannot be read: {_reason(error)}"), retries=retries)
        retries += 1
        sleep(min(_FIRST_PAUSE * 2 ** (retries - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1.0))  # noqa: S311


def _read(at: Place) -> bytes:
    if at.local:
        return load(at.path)
    data = at.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FileTooLargeError(f"{at.uri(at.path)} has more than {MAX_FILE_BYTES / 1e6:.0f} MB; send a smaller copy")
    return data


def _final(error: Exception) -> bool:
    status = next((getattr(error, name) for name in _STATUS_NAMES if hasattr(error, name)), None)
    return (
        isinstance(error, FileNotFoundError | PermissionError)
        or status in _FINAL_STATUS
        or _FINAL_TEXT.search(str(error)) is not None
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
