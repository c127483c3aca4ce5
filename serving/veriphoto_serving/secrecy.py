"""Keeps secrets out of everything that others can read of a process: environment, command line, core dumps.

The initial environment and command line of a process stay readable in ``/proc`` for its whole life.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
from pathlib import Path
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_OWN: Final = "VERIPHOTO_(?:API_KEYS?|REVIEW_DATABASE)"
"""The address of the review database may hold a password."""
_OPTION: Final = b"--(?:api-keys|review-database)"
_ARGUMENTS: Final = (45, 46)
_ENVIRONMENT: Final = (47, 48)
"""Fields of /proc/PID/stat behind the name: where the strings begin and end in memory; see proc(5)."""


def conceal() -> None:
    """Erases the secrets of ours that this process was started with, and disables core dumps for it and its children.

    Call this after reading the keys and before starting other processes. If the kernel forbids one part, the others are
    still done.
    """
    for name in [name for name in os.environ if re.fullmatch(_OWN, name)]:
        del os.environ[name]
    with contextlib.suppress(OSError, ValueError, IndexError):
        stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        own = rf"(?:^|\0){_OWN}=([^\0]*)".encode()
        _overwrite(int(stat[_ENVIRONMENT[0]]), int(stat[_ENVIRONMENT[1]]), own)
        _overwrite(int(stat[_ARGUMENTS[0]]), int(stat[_ARGUMENTS[1]]), _OPTION + rb"[=\0]([^\0]*)")
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # A kernel that pipes core dumps to a program does not ask for that limit.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _overwrite(start: int, end: int, pattern: bytes) -> None:
    """Overwrites, in this process's memory, what the first group of a pattern matches."""
    if not 0 < start < end:
        return
    for found in re.finditer(pattern, ctypes.string_at(start, end - start)):
        ctypes.memset(start + found.start(1), ord("x"), len(found[1]))
