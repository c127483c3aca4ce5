"""The commit that goals are stated against, checked out under ``var/bench`` and run with its own code."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import venv
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


def former_python() -> str:
    """Returns a Python that finds the former packages before today's, and all that is installed after them.

    An environment and not a PYTHONPATH: Triton's stubs take their packages from the ``python3`` on PATH alone.
    """
    home = former_tree() / ".venv"
    if not (home / "bin" / "python3").exists():
        venv.create(home, symlinks=True)
        (packages,) = home.glob("lib/python*/site-packages")
        own = [str(TREE / name) for name in ("core", "client", "serving")]
        installed = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
        (packages / "former.pth").write_text("\n".join([*own, installed]) + "\n", encoding="utf-8")
    return str(home / "bin" / "python3")


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
        [former_python(), "-c", _SERVE],
        cwd=root,
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
