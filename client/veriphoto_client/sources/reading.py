"""Reading one input, with patience for stores that stumble."""

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
"""HTTP's refusals that asking again would not change."""
_STATUS_NAMES: Final = ("status", "status_code", "code")
"""Where errors of aiohttp, Azure's and Google's clients keep it; the first counts, aiohttp's ``code`` is deprecated."""
_FINAL_TEXT: Final = re.compile(r"AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET)\b|\(HTTP status 40[34]\)|PERMISSION_DENIED:")
"""The same in pyarrow's words. Never a bare number: the messages name the object, and its name may hold one."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An input's bytes, or why there are none."""

    data: bytes = b""
    error: ImageError | None = None
    retries: int = 0
    """Attempts after the first."""


def fetch(uri: str, tries: int, *, sleep: Callable[[float], None] = time.sleep) -> Fetched:
    """Reads an input.

    Args:
        uri: A local path or a URI.
        tries: Attempts before the object counts as unreachable; files of this machine and objects that do not exist
            get one.
        sleep: Waits between attempts, each time about twice as long.
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
