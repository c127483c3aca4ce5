"""Measures every row of the table of speed, one part after another: ``make bench``.

    python -m benchmarks.all                 # half an hour at most
    python -m benchmarks.all --quick         # a few minutes, to see that everything runs

A part that fails is named at the end and does not stop the others. Ends with the table and the page that shows it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.page import write_page
from benchmarks.rows import ROWS, load, table

PARTS = tuple(dict.fromkeys(row.module for row in ROWS))
_WITHOUT_PHOTOS = ("memory",)


def main() -> None:
    """Runs them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of real photos to make the pictures from")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    failed = []
    for part in PARTS:
        argv = [sys.executable, "-m", f"benchmarks.{part}", *(["--quick"] if arguments.quick else [])]
        if arguments.photos and part not in _WITHOUT_PHOTOS:
            argv += ["--photos", str(arguments.photos)]
        print(f"== {part}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        if subprocess.run(argv, check=False).returncode:
            failed.append(part)
        print(f"== {part}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    write_page()
    print(table(load()))
    if failed:
        raise SystemExit(f"these did not finish: {', '.join(failed)}")


if __name__ == "__main__":
    main()
