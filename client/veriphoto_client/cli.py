"""The ``veriphoto`` command: runs the command line and turns errors into exit codes."""

from __future__ import annotations

import errno
import os
import sys

from veriphoto.errors import MissingExtraError, VeriphotoError

EXIT_COULD_NOT_RUN = 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Runs the command line and exits: 0 success, 1 some files failed, 2 could not run."""
    try:
        _run()
    except VeriphotoError as error:
        sys.stderr.write(f"error: {error.to_wire()}\n")
        sys.exit(EXIT_COULD_NOT_RUN)
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        sys.stderr.write(f"error: standard output cannot be written: {error.strerror}; make room and run again\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try the rest of its buffer once more at its end
        sys.exit(EXIT_COULD_NOT_RUN)


def _run() -> None:
    try:
        from veriphoto_client.commandline.app import build  # noqa: PLC0415 (typer and rich come with an extra)
    except ModuleNotFoundError as error:
        raise MissingExtraError("client", error.name) from error
    build()()
