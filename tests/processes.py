"""Waiting for processes that start."""

from __future__ import annotations

import subprocess


def output_until(process: subprocess.Popen[str], words: str) -> str:
    """Reads a process's output until it has said something, and returns all of it."""
    assert process.stdout is not None
    output = ""
    while words not in output:
        line = process.stdout.readline()
        assert line, output
        output += line
    return output
