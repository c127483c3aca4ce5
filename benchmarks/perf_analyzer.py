"""NVIDIA's perf_analyzer on the same Triton, in turns with our own load generator: do both see the same server?

    python -m benchmarks.perf_analyzer         # looks on PATH and under var/bench/perf; skipped, with the reason, else

``pip install perf-analyzer`` brings it on systems with glibc 2.38 or newer (its 2.60.0 wheel is manylinux_2_38).
Writes benchmarks/results/perf_analyzer.{json,md}.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pictures import ROOT, contents, pictures
from benchmarks.processes import Worker
from benchmarks.results import save, save_table
from benchmarks.rounds import in_turns
from benchmarks.servers import Served, measure, triton

from veriphoto_serving.triton.options import ADMIN_HEADER

_RATE = re.compile(r"Throughput: ([\d.]+) infer/sec")


def find() -> str | None:
    """Finds the program."""
    return shutil.which("perf_analyzer") or shutil.which("perf_analyzer", path=str(ROOT / "var/bench/perf/bin"))


def reason_to_skip(program: str | None) -> str:
    """Says why it cannot run; empty where it can."""
    if program is None:
        return "perf_analyzer is not installed"
    tried = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"perf_analyzer does not run here: {tried.stderr.strip()[-200:]}"


def analyse(program: str, served: Served, data: Path, width: int, seconds: float) -> dict[str, Any]:
    """Runs it once in a closed loop."""
    # It reads the model's configuration and statistics first, which are closed without the key.
    key = f"triton-grpc-protocol-{ADMIN_HEADER}:{served.triton.admin_key}"
    argv = [program, "-m", "detector", "-u", served.triton.grpc_url, "-i", "grpc", "-H", key, "--input-data", str(data)]
    argv += ["--concurrency-range", str(width), "--measurement-interval", str(round(1000 * seconds))]
    argv += ["--max-trials", "10", "-s", "90"]  # the machine is shared: a window may differ from the one before
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = _RATE.search(said.stdout)
    if found is None:
        raise RuntimeError(f"perf_analyzer said: {(said.stdout + said.stderr)[-400:]}")
    return {"images_per_s": float(found[1])}


def _element(data: bytes) -> bytes:
    # What "b64" holds is sent as it is, and an element of a BYTES tensor begins with its length.
    return struct.pack("<I", len(data)) + data


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    program = find()
    reason = reason_to_skip(program)
    if reason or program is None:
        print(f"skipped: {reason}")
        save("perf_analyzer", {"command": "python -m benchmarks.perf_analyzer", "skipped": reason})
        return
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 1.5
    files = pictures("1", 32, arguments.photos)
    with tempfile.TemporaryDirectory() as at, triton() as served, Worker("benchmarks.load", *map(str, files)) as load:
        data = Path(at) / "data.json"
        entries = [{"IMAGE": {"b64": base64.b64encode(_element(each)).decode()}} for each in contents(files)]
        data.write_text(json.dumps({"data": entries}))
        way, url = served.way("tritonclient-grpc")
        order = {"loop": "closed", "way": way, "url": url, "width": 8, "seconds": arguments.seconds}
        turns = in_turns(
            {
                "perf_analyzer": lambda: analyse(program, served, data, 8, arguments.seconds),
                "load generator": lambda: measure(load, order, served.triton_pids),
            },
            arguments.rounds,
        )
    ratio = turns.ratio("load generator", "perf_analyzer")
    rows = [{"by": name, "images/s": turns.median(name, "images_per_s")} for name in turns.blocks]
    save("perf_analyzer", {"command": "python -m benchmarks.perf_analyzer", "ratio": ratio, "blocks": turns.blocks})
    save_table("perf_analyzer", "gRPC at concurrency 8, as two load generators see it", rows)


if __name__ == "__main__":
    main()
