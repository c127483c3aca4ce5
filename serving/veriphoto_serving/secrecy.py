"""Keeps secrets out of everything that others can read of a process: environment, command line, core dumps.

What a process was started with stays readable in ``/proc`` for its whole life, and children inherit the environment.
Some of these children parse hostile pictures, so they must not hold what such a picture could be after.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_NAMES: Final = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_OWN: Final = re.compile(r"VERIPHOTO_API_KEYS?")
_OPTION: Final = b"--api-keys"
_ARGUMENTS: Final = (45, 46)
_ENVIRONMENT: Final = (47, 48)
"""Fields of /proc/PID/stat behind the name: where the strings begin and end in memory; see proc(5)."""


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment for a child: without our keys, and whatever else is named like a secret."""
    return {name: value for name, value in environment.items() if not _NAMES.search(name)}


def conceal() -> None:
    """Forgets the API keys that this process was started with, and forbids core dumps here and in its children.

    To be called once they have been read, before anything is started. Where the kernel forbids a part of it, the rest
    is done.
    """
    for name in [name for name in os.environ if _OWN.fullmatch(name)]:
        del os.environ[name]
    with contextlib.suppress(OSError, ValueError, IndexError):
        stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        _overwrite(int(stat[_ENVIRONMENT[0]]), int(stat[_ENVIRONMENT[1]]), rb"(?:^|\0)VERIPHOTO_API_KEYS?=([^\0]*)")
        _overwrite(int(stat[_ARGUMENTS[0]]), int(stat[_ARGUMENTS[1]]), _OPTION + rb"[=\0]([^\0]*)")
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # A kernel that pipes core dumps to a program does not ask for that limit.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _overwrite(start: int, end: int, pattern: bytes) -> None:
    """Overwrites what a group of a pattern matches in this process's memory."""
    if not 0 < start < end:
        return
    for found in re.finditer(pattern, ctypes.string_at(start, end - start)):
        ctypes.memset(start + found.start(1), ord("x"), len(found[1]))
