"""How much memory the gateway may give to uploads, where a container's limit would otherwise end the process."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MEGA: Final = 1_000_000
_MOST: Final = 500 * _MEGA
_LEAST: Final = 64 * _MEGA
"""One picture of the largest size, its copies, and some small ones."""
_PROCESS: Final = 250 * _MEGA
"""The gateway without uploads: measured 105 MB idle, 190 MB after all its parts were used."""
_DECODE: Final = 400 * _MEGA
"""The one picture that may be decoded here at a time, for an explanation."""
_TRITON: Final = 1_500 * _MEGA
"""A server and its processes in the same container, as ``veriphoto serve`` starts them."""

_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK: Final = 1 << 20


def upload_budget(*, beside_triton: bool, root: Path = Path("/")) -> int:
    """Returns the bytes that uploads may take: 500 MB, or what the container's limit leaves.

    Args:
        beside_triton: Whether Triton runs under the same limit.
        root: Where ``proc`` and ``sys`` lie.
    """
    limit = memory_limit(root)
    if limit is None:
        return _MOST
    return max(_LEAST, min(_MOST, limit - _PROCESS - _DECODE - (_TRITON if beside_triton else 0)))


def memory_limit(root: Path = Path("/")) -> int | None:
    """Returns the memory limit of this process's control group, of either version, in bytes; None where there is none.

    A group's own limit may be wider than that of a group above it, so the narrowest counts. Inside a container the path
    that the kernel names may be the host's; then the top of what is mounted is the container's own group.

    Args:
        root: Where ``proc`` and ``sys`` lie.
    """
    limits = []
    for file in _limit_files(root):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(file.read_text(encoding="ascii")))  # "max" is no number: no limit
    narrowest = min(limits, default=0)
    return narrowest if 0 < narrowest < 1 << 60 else None  # version 1 writes a huge number for none


def _limit_files(root: Path) -> Iterator[Path]:
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
    """Has the C library give every freed block over 1 MB back to the kernel.

    By default glibc learns from the first large upload to keep such blocks, and the holes between them then count
    against the limit for good.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
