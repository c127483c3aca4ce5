"""How much memory uploads may use before a container's memory limit would kill the process."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MEGA: Final = 1_000_000
_MOST: Final = 500 * _MEGA
_LEAST: Final = 64 * _MEGA
"""Enough for one picture of the largest size with its copies, and some small ones."""
_PROCESS: Final = 250 * _MEGA
"""The gateway without uploads: measured 105 MB idle, 190 MB after all its parts were used."""
_DECODE: Final = 400 * _MEGA
"""The one picture that may be decoded here at a time, for an explanation."""
_TRITON: Final = 1_500 * _MEGA
"""Triton and its processes, if they run in the same container."""

_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK: Final = 1 << 20


def upload_budget(*, beside_triton: bool, root: Path = Path("/")) -> int:
    """Returns the bytes that uploads may use: 500 MB, or what the container's limit leaves.

    Args:
        beside_triton: Whether Triton runs under the same limit.
        root: Directory that contains ``proc`` and ``sys``.
    """
    limit = memory_limit(root)
    if limit is None:
        return _MOST
    return max(_LEAST, min(_MOST, limit - _PROCESS - _DECODE - (_TRITON if beside_triton else 0)))


def memory_limit(root: Path = Path("/")) -> int | None:
    """Returns the memory limit of this process's control group, of either version, in bytes; None if there is none.

    A group's own limit may be wider than that of a group above it, so the narrowest counts. Inside a container the path
    that the kernel names may be the host's; then the top of what is mounted is the container's own group.

    Args:
        root: Directory that contains ``proc`` and ``sys``.
    """
    limits = []
    for file in limit_files(root):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(file.read_text(encoding="ascii")))  # "max" is no number: no limit
    narrowest = min(limits, default=0)
    return narrowest if 0 < narrowest < 1 << 60 else None  # version 1 writes a huge number for none


def limit_files(root: Path = Path("/")) -> Iterator[Path]:
    """Yields where the limits of this process's memory control groups would stand, its own group's first."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            tops: tuple[Path, ...]
            if not controllers:
                tops, name = (root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"), "memory.max"
            elif "memory" in controllers.split(","):
                tops, name = (root / "sys/fs/cgroup/memory",), "memory.limit_in_bytes"
            else:
                continue
            group = Path(path.lstrip("/"))
            for top in tops:
                for each in (group, *group.parents):
                    yield top / each / name


def return_large_blocks() -> None:
    """Makes the C library return every freed block over 1 MB to the kernel.

    By default glibc starts to keep such blocks after the first large upload, and the gaps between them then count
    against the limit for good.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
