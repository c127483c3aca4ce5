"""All benchmarks of speed, one after another: ``make bench``.

    python -m benchmarks.all                 # about twenty minutes
    python -m benchmarks.all --quick         # a few minutes

A part that fails is named at the end and does not stop the others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PARTS = ("served", "scan", "growth", "perf_analyzer", "peers_compare", "gpu")


def main() -> None:
    """Runs them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of real photos to make the pictures from")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    failed = []
    for part in PARTS:
        argv = [sys.executable, "-m", f"benchmarks.{part}", *(["--quick"] if arguments.quick else [])]
        if arguments.photos and part != "gpu":
            argv += ["--photos", str(arguments.photos)]
        print(f"== {part}", file=sys.stderr, flush=True)
        if subprocess.run(argv, check=False).returncode:
            failed.append(part)
    if failed:
        raise SystemExit(f"these did not finish: {', '.join(failed)}")


if __name__ == "__main__":
    main()
