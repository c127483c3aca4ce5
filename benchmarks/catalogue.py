"""The catalogue scan against the in-process limit on the same cores, and its memory as the catalogue grows.

    python -m benchmarks.catalogue          # overhead over 10,000 photos, memory at 1,000 and 20,000
    python -m benchmarks.catalogue --photos 500 --memory 200 1000

1. Overhead: the limit (one process a core, nothing between) scores half of the photos, ``veriphoto scan --engine ray``
   all of them, the limit the other half: what else the machine does falls on both. Compared are wall time and CPU time
   for each photo (which other work on the machine moves less), of the whole command and without its start and end.
2. Memory: the scan's whole process tree (driver, Ray, actors), pages that they share counted once, every two seconds.

The photos are links to 256 different files. Writes benchmarks/results/catalogue.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.pictures import ROOT, SIZES, pictures
from benchmarks.processes import Worker, own_cpu_seconds, proportional_mb, tree
from benchmarks.saving import save, save_table
from pyarrow import dataset

STORE: Final = ROOT / "var" / "bench" / "catalogue"
CORES: Final = os.cpu_count() or 1
DISTINCT: Final = 256


def catalogue(files: Sequence[Path], count: int) -> Path:
    """Makes a folder of links, 1,000 in each subfolder."""
    folder = STORE / f"photos-{files[0].parent.name}-{count}"
    for number in range(count):
        link = folder / f"{number // 1000:03}" / f"{number:06}.jpg"
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(files[number % len(files)])
    return folder


def limit(files: Sequence[Path], variant: str, count: int) -> dict[str, float]:
    """Scores photos with one process a core and nothing between; loading the model is not counted."""
    with ExitStack() as stack:
        arguments = ("--variant", variant, *map(str, files))
        workers = [stack.enter_context(Worker("benchmarks.engine", *arguments)) for _ in range(CORES)]
        for worker in workers:
            worker.ask({"count": 2})
        started = time.perf_counter()
        for worker in workers:
            worker.send({"count": count // CORES})
        answers = [worker.receive() for worker in workers]
        seconds = time.perf_counter() - started
    return {
        "images": sum(answer["images"] for answer in answers),
        "seconds": seconds,
        "cpu": sum(answer["cpu"] for answer in answers),
    }


class Watch:
    """Looks at a process tree while it runs."""

    def __init__(self, pid: int) -> None:
        """Starts looking."""
        self.memory_mb: list[float] = []
        self.cpu_s: list[tuple[float, float]] = []
        """Time of day, CPU seconds of the tree until then."""
        self._cpu: dict[int, float] = {}
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(2.0):
            pids = tree(self._pid)
            for pid in pids:  # the largest seen of each: processes end, and with them their count
                self._cpu[pid] = max(self._cpu.get(pid, 0.0), _own_cpu_seconds(pid))
            self.cpu_s.append((time.time(), sum(self._cpu.values())))
            self.memory_mb.append(proportional_mb(pids))

    def cpu_at(self, moment: float) -> float:
        """Returns the CPU seconds until a time of day."""
        return float(np.interp(moment, [at for at, _ in self.cpu_s], [used for _, used in self.cpu_s]))

    def stop(self) -> None:
        """Stops looking."""
        self._stop.set()
        self._thread.join()


def _own_cpu_seconds(pid: int) -> float:
    with suppress(OSError):
        return own_cpu_seconds(pid)
    return 0.0


def scan(folder: Path, variant: str, model: Path | None, rows_per_file: int) -> dict[str, Any]:
    """Runs the command and looks at it; every photo must have its row."""
    output = STORE / "out"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "veriphoto_client", "scan", "--engine", "ray", str(folder), "-o", str(output)]
    command += ["--workers", str(CORES), "--variant", variant, "--rows-per-file", str(rows_per_file)]
    command += ["--model", str(model)] if model else []
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    watch = Watch(process.pid)
    _, said = process.communicate()
    seconds = time.perf_counter() - started
    watch.stop()
    rows = dataset.dataset(str(output), format="parquet").count_rows()
    expected = sum(1 for path in folder.rglob("*.jpg"))
    if process.returncode or rows != expected:
        raise SystemExit(f"{rows} rows of {expected}, exit code {process.returncode}: {said}")
    written = sorted(path.stat().st_mtime for path in output.rglob("part-*.parquet"))
    begun, end = written[min(CORES, len(written)) - 1], written[-1]
    steady = max(1, rows - CORES * rows_per_file)
    half = watch.memory_mb[len(watch.memory_mb) // 2 :]
    return {
        "images": rows,
        "seconds": round(seconds, 1),
        "images_per_s": round(rows / seconds, 2),
        "cpu_ms_per_image": round(1000 * watch.cpu_s[-1][1] / rows, 2),
        # Without start and end: from the first part file of each core to the last.
        "steady_images_per_s": round(steady / max(end - begun, 1e-9), 2),
        "steady_cpu_ms_per_image": round(1000 * (watch.cpu_at(end) - watch.cpu_at(begun)) / steady, 2),
        "peak_mb": round(max(watch.memory_mb, default=0.0), 1),
        "median_mb_of_the_second_half": round(statistics.median(half), 1) if half else None,
    }


def overhead(files: Sequence[Path], arguments: argparse.Namespace) -> dict[str, Any]:
    """Compares the scan with the limit."""
    folder = catalogue(files, arguments.photos)
    before = limit(files, arguments.variant, arguments.photos // 2)
    ray = scan(folder, arguments.variant, None, arguments.rows_per_file)
    after = limit(files, arguments.variant, arguments.photos // 2)
    images, seconds, cpu = (before[key] + after[key] for key in ("images", "seconds", "cpu"))
    return {
        "limit": {
            "images": images,
            "seconds": round(seconds, 1),
            "images_per_s": round(images / seconds, 2),
            "cpu_ms_per_image": round(1000 * cpu / images, 2),
            "halves_images_per_s": [round(half["images"] / half["seconds"], 2) for half in (before, after)],
        },
        "ray": ray,
        "wall_over_limit": round(ray["seconds"] / ray["images"] / (seconds / images), 3),
        "cpu_over_limit": round(ray["cpu_ms_per_image"] / (1000 * cpu / images), 3),
        "steady_wall_over_limit": round(images / seconds / ray["steady_images_per_s"], 3),
        "steady_cpu_over_limit": round(ray["steady_cpu_ms_per_image"] / (1000 * cpu / images), 3),
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000, help="for the overhead; 0 leaves it out")
    parser.add_argument("--memory", type=int, nargs="*", default=[1_000, 20_000], help="sizes for the memory")
    parser.add_argument("--megapixels", choices=SIZES, default="1")
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--rows-per-file", type=int, default=250)
    parser.add_argument("--memory-model", type=Path, help="a version directory for the memory runs, as a small network")
    arguments = parser.parse_args()
    files = pictures(arguments.megapixels, DISTINCT)
    body: dict[str, Any] = {"command": " ".join(["python -m benchmarks.catalogue", *sys.argv[1:]])}
    rows = []
    if arguments.photos:
        body["overhead"] = overhead(files, arguments)
        rows += [{"what": side, **body["overhead"][side]} for side in ("limit", "ray")]
    body["memory"] = []
    for count in arguments.memory:
        folder = catalogue(files, count)
        body["memory"].append(scan(folder, arguments.variant, arguments.memory_model, arguments.rows_per_file))
        rows.append({"what": f"memory, {count} photos", **body["memory"][-1]})
    save("catalogue", body)
    print(save_table("catalogue", "Catalogue scan on Ray Data", rows).read_text())


if __name__ == "__main__":
    main()
