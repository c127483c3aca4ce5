"""``veriphoto scan --engine local`` on a folder against the limit on the same files, in turns.

    python -m benchmarks.scan                        # or --quick, or --megapixels 1

A scan of 10,000 files costs a start and 10,000 photos. Each round measures a scan of few files and one of many, and
works out what 10,000 cost; ``--whole`` scans so many indeed, once. Writes benchmarks/results/scan.json and its rows.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.pictures import SIZES, pictures
from benchmarks.processes import cpu_seconds
from benchmarks.rounds import Block, Measured, in_turns
from benchmarks.rows import record
from benchmarks.saving import save
from benchmarks.served import CORES, limit_block, limit_workers

FILES: Final = 10_000
COUNTS: Final = {"0.2": 1200, "1": 800, "12": 320}
"""Photos in a block, by megapixels: seven seconds of two cores."""
_FEW: Final = 2 * CORES
_RATE: Final = re.compile(r"(\d+) files in ([\d.]+) s.*?scored: +(\d+)", re.DOTALL)


def folder_of(files: Sequence[Path], count: int, at: Path) -> Path:
    """Fills a folder with so many links to files, round and round."""
    folder = at / f"{count}-{files[0].parent.name}"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06d}.jpg").symlink_to(files[number % len(files)])
    return folder


def scan(folder: Path, count: int) -> tuple[float, float]:
    """Runs the command as a user does; returns its seconds and its CPU seconds, Python's start included."""
    us = [os.getpid()]  # our own time hardly counts beside that of the scan that we wait for
    ours = cpu_seconds(us)
    with tempfile.TemporaryDirectory() as at:
        argv = [sys.executable, "-m", "veriphoto_client", "scan", str(folder), "--engine", "local"]
        # The limit runs the classifier in fp32; so must the scan.
        argv += ["--variant", "fp32", "--second-opinion", "off", "-o", f"{at}/rows.csv"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = _RATE.search(done.stderr)
    if found is None or int(found[1]) != count or found[1] != found[3]:
        raise RuntimeError(f"the scan said: {done.stderr[-300:]}")
    return float(found[2]), cpu_seconds(us) - ours


def scan_block(few: Path, many: Path, count: int) -> dict[str, Any]:
    """Scans both folders; answers what a photo costs in a scan of ``FILES``."""
    start_s, start_cpu = scan(few, _FEW)
    all_s, all_cpu = scan(many, count)

    def each(start: float, whole: float) -> float:
        more = (whole - start) / (count - _FEW)
        return (start + (FILES - _FEW) * more) / FILES

    return {
        "images_per_s": 1.0 / each(start_s, all_s),
        "cpu_ms_per_image": round(1000.0 * each(start_cpu, all_cpu), 3),
        "start_cpu_s": round(start_cpu, 2),
    }


def whole_block(folder: Path, count: int) -> dict[str, Any]:
    """Scans a folder once."""
    seconds, cpu = scan(folder, count)
    return {"images_per_s": count / seconds, "cpu_ms_per_image": round(1000.0 * cpu / count, 3)}


def measured(size: str, arguments: argparse.Namespace) -> Measured:
    """Measures scan and limit at one size."""
    count = arguments.whole or (COUNTS[size] // 4 if arguments.quick else COUNTS[size])
    files = pictures(size, min(count, 32 if size == "12" else 128), arguments.photos)
    with tempfile.TemporaryDirectory() as at, limit_workers(files, "fp32") as workers:
        few, many = (folder_of(files, each, Path(at)) for each in (_FEW, count))
        sides: dict[str, Block] = {
            "limit": lambda: limit_block(workers, {"count": count // CORES}),
            "scan": lambda: whole_block(many, count) if arguments.whole else scan_block(few, many, count),
        }
        return in_turns(sides, 1 if arguments.whole else arguments.rounds, warm_up=not arguments.whole)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--megapixels", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--whole", type=int, default=0, help="one scan of so many photos instead")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 2
    turns = {size: measured(size, arguments) for size in arguments.megapixels}
    keys = ("images_per_s", "cpu_ms_per_image")
    rows = [
        {"megapixels": size, "side": side, **{key: each.median(side, key) for key in keys}}
        for size, each in turns.items()
        for side in each.blocks
    ]
    command = " ".join(["python -m benchmarks.scan", *sys.argv[1:]])
    save("scan", {"command": command, "rows": rows, "blocks": {size: each.blocks for size, each in turns.items()}})
    record(
        {f"scan_{size}mp": each.cpu_ratios("scan", "limit") for size, each in turns.items()},
        wall={f"scan_{size}mp": each.ratios("scan", "limit") for size, each in turns.items()},
    )


if __name__ == "__main__":
    main()
