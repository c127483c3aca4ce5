"""``veriphoto scan`` on a folder against the limit on the same files.

    python -m benchmarks.scan                        # in turns, 200 photos a block, at 0.2, 1 and 12 megapixels
    python -m benchmarks.scan --whole 10000          # one scan of 10,000 photos of each size, and the limit on as many
    python -m benchmarks.scan --quick

Writes benchmarks/results/scan.{json,md} and ``scan_over_limit`` (of the 1-megapixel photos) into the summary; with
``--whole`` the names bear the number of photos and their sizes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.pictures import SIZES, pictures
from benchmarks.processes import cpu_seconds
from benchmarks.results import save, save_table, suffix
from benchmarks.rounds import Block, in_turns
from benchmarks.served import CORES, limit_block, limit_workers
from benchmarks.servers import Served, triton

_RATE = re.compile(r"(\d+) files in ([\d.]+) s.*: (\d+) scored")


def folder_of(files: Sequence[Path], count: int, at: Path) -> Path:
    """Fills a folder with so many links to files, round and round."""
    folder = at / f"{count}-{files[0].parent.name}"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06d}.jpg").symlink_to(files[number % len(files)])
    return folder


def scan_block(served: Served, folder: Path) -> dict[str, Any]:
    """Runs the command as a user does; its own clock starts once Python has."""
    us = [os.getpid()]  # our own time hardly counts beside that of the scan that we wait for
    before, ours = cpu_seconds(served.triton_pids), cpu_seconds(us)
    with tempfile.TemporaryDirectory() as at:
        argv = [
            sys.executable,
            "-m",
            "veriphoto_client",
            "scan",
            str(folder),
            "--url",
            f"http://{served.triton.http_url}",
        ]
        done = subprocess.run([*argv, "-o", f"{at}/rows.csv"], capture_output=True, text=True, check=True)
    found = _RATE.search(done.stderr)
    if found is None or found[1] != found[3]:
        raise RuntimeError(f"the scan said: {done.stderr[-300:]}")
    images, seconds = int(found[1]), float(found[2])
    used, client = cpu_seconds(served.triton_pids) - before, cpu_seconds(us) - ours
    return {
        "images": images,
        "images_per_s": images / seconds,
        "triton_cpu_ms_per_image": round(1000.0 * used / images, 2),
        "client_cpu_ms_per_image": round(1000.0 * client / images, 2),  # with Python's start
        "cpu_ms_per_image": round(1000.0 * (used + client) / images, 2),
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--megapixels", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--count", type=int, default=200, help="photos in one block, a quarter of that at 12 megapixels"
    )
    parser.add_argument("--whole", type=int, default=0, help="one round of so many photos instead")
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.count = 2, 24
    rows, blocks, ratios = [], {}, {}
    with tempfile.TemporaryDirectory() as at, triton(arguments.variant) as served:
        for size in arguments.megapixels:
            count = arguments.whole or max(8, arguments.count // (4 if size == "12" else 1))
            files = pictures(size, min(count, 32 if size == "12" else 128), arguments.photos)
            folder = folder_of(files, count, Path(at))
            with limit_workers(files, arguments.variant) as workers:
                order = {"count": count // CORES}
                sides: dict[str, Block] = {
                    "limit": lambda w=workers, o=order: limit_block(w, o),
                    "scan": lambda f=folder: scan_block(served, f),
                }
                turns = in_turns(sides, 1 if arguments.whole else arguments.rounds, warm_up=not arguments.whole)
            shutil.rmtree(folder)
            blocks[size], ratios[size] = turns.blocks, turns.ratio("scan", "limit")
            rows.append(
                {
                    "megapixels": size,
                    "photos a block": count,
                    "scan images/s": turns.median("scan", "images_per_s"),
                    "limit images/s": turns.median("limit", "images_per_s"),
                    "scan / limit": ratios[size]["median"],
                    "min": ratios[size]["min"],
                    "max": ratios[size]["max"],
                    "by CPU time": turns.cpu_ratio("scan", "limit")["median"],
                }
            )
    name = f"scan{suffix(arguments.variant)}"
    if arguments.whole:  # takes long, so sizes may be run one by one
        name += f"_{arguments.whole}_{'_'.join(arguments.megapixels)}"
    summary = {f"{name}_over_limit": ratios["1"]} if "1" in ratios else None
    command = " ".join(["python -m benchmarks.scan", *sys.argv[1:]])
    save(name, {"command": command, "ratios": ratios, "rows": rows, "blocks": blocks}, summary)
    save_table(name, "veriphoto scan against the limit", rows)


if __name__ == "__main__":
    main()
