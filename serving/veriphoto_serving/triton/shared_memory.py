"""The shared-memory regions of Triton's Python backend, including those that dead servers left behind.

Each stub shares one region with its server. A server that is killed cannot remove its regions; they then hold memory
until the machine restarts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path("/dev/shm")  # noqa: S108 - where shm_open puts regions, not a temporary file of ours
PREFIX: Final = "triton_python_backend_shm_region_"

_NEARLY_FULL: Final = 32_000_000
"""Free bytes with which a picture of the largest size, or a server that starts, may fail."""

# Without leases, a region that no process uses may be one that is just being created.
_NEWBORN_S: Final = 5.0


def regions(prefix: str = PREFIX, directory: Path = DIRECTORY) -> list[Path]:
    """Lists regions.

    Args:
        prefix: How their names start; that of one server's ``region_prefix``, or of all.
        directory: Directory of the regions.

    Returns:
        Their files, sorted.
    """
    return sorted(file for file in directory.glob(f"{prefix}*") if file.is_file() and not file.is_symlink())


def users(prefix: str, directory: Path = DIRECTORY) -> set[int]:
    """Returns the processes that have a region mapped.

    Args:
        prefix: How the regions' names start.
        directory: Directory of the regions.
    """
    found = set()
    start = f" {directory / prefix}"
    for process in Path("/proc").glob("[0-9]*"):
        # Processes may end meanwhile, and those of other users cannot be read.
        with contextlib.suppress(OSError):
            if start in (process / "maps").read_text(encoding="utf-8", errors="replace"):
                found.add(int(process.name))
    return found


def shared_memory_hint() -> str:
    """Returns advice to append to an error message if shared memory is nearly full; otherwise an empty string.

    Pictures reach Triton's Python processes through it, and what these say if it is full is hard to understand.
    """
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(DIRECTORY).free
        if free < _NEARLY_FULL:
            return f"; {DIRECTORY} has {free // 1_000_000} MB left: make it larger (docker: --shm-size) or remove files"
    return ""


def remove_stale(directory: Path = DIRECTORY) -> list[Path]:
    """Removes the regions that nothing uses: no process has them open or mapped.

    The kernel is asked, by a lease, rather than /proc: it also knows the processes of other containers that share
    the directory. Regions of other users are left alone.

    Args:
        directory: Directory of the regions.

    Returns:
        What was removed.
    """
    removed = []
    for region in regions(PREFIX, directory):
        with contextlib.suppress(OSError):
            descriptor = os.open(region, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                # Held until the region is removed, so that nobody can start to use it in between.
                if _lease(descriptor) or _abandoned(region):
                    region.unlink()
                    removed.append(region)
            finally:
                os.close(descriptor)
    return removed


def remove(prefix: str, directory: Path = DIRECTORY) -> None:
    """Removes the regions of one dead server.

    Args:
        prefix: The server's ``region_prefix``.
        directory: Directory of the regions.
    """
    for region in regions(prefix, directory):
        region.unlink(missing_ok=True)


def _lease(descriptor: int) -> bool:
    """Takes a lease, which the kernel grants only on a file that nobody else has open or mapped for writing.

    Returns:
        True if granted, False where leases do not exist.

    Raises:
        OSError: If the file is in use, or not ours.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _abandoned(region: Path) -> bool:
    old = region.stat().st_mtime < time.time() - _NEWBORN_S
    return old and not users(region.name, region.parent)
