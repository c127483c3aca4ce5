"""Waiting for processes that start, and looking at those that are about to end."""

from __future__ import annotations

import subprocess
from pathlib import Path


def runs(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not, nor one that ends while it is looked at."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def output_until(process: subprocess.Popen[str], words: str) -> str:
    """Reads a process's output until it has said something, and returns all of it."""
    assert process.stdout is not None
    output = ""
    while words not in output:
        line = process.stdout.readline()
        assert line, output
        output += line
    return output
