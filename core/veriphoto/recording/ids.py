"""Which request ids may be kept."""

from __future__ import annotations

import re
from typing import Final

from veriphoto.records import PROBE_PREFIX

_GENERATED: Final = re.compile(
    rf"{PROBE_PREFIX}[a-z0-9-]*"
    r"|([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32,64}|[0-9A-HJKMNP-TV-Z]{26})(#\d{1,6})?"
)


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
