"""The commit that goals are stated against, checked out under ``var/bench`` and run with its own code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from benchmarks.processes import tree
from benchmarks.rows import FORMER, ROOT

TREE: Final = ROOT / "var" / "bench" / f"commit-{FORMER}"

_SERVE: Final = """
import json, sys
from benchmarks.servers import triton
with triton("fp32") as served:
    print(json.dumps([served.triton.pid, served.raw_url]), flush=True)
    sys.stdin.read()
"""


def former_tree() -> Path:
    """Returns its working tree, made where it is not there yet.

    Raises:
        SystemExit: If this copy of the repository does not have the commit.
    """
    if not (TREE / "core").is_dir():
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
        add = ["git", "worktree", "add", "--quiet", "--force", "--detach", str(TREE), FORMER]
        if subprocess.run(add, cwd=ROOT, check=False).returncode:
            raise SystemExit(f"commit {FORMER} is not in this repository; fetch it whole: git fetch --unshallow")
    return TREE


def python_path(root: Path) -> dict[str, str]:
    """Returns the environment in which Python finds a tree's packages before those that are installed."""
    parts = [root, *(root / name for name in ("core", "client", "serving"))]
    return {"PYTHONPATH": os.pathsep.join(map(str, parts))}


@dataclass(frozen=True, slots=True)
class Running:
    """A Triton of the former commit."""

    raw_url: str
    pids: list[int]


@contextmanager
def former_triton() -> Iterator[Running]:
    """Starts its Triton on free ports, by its own launcher."""
    root = former_tree()
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        cwd=root,
        env={**os.environ, **python_path(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        pid, url = json.loads(cast(IO[str], process.stdout).readline())
        try:
            yield Running(url, tree(pid))
        finally:
            cast(IO[str], process.stdin).close()
