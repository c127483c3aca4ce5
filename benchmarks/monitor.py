"""What the drift sidecar costs: memory, a share of a core at 100 images a second, and how fast it catches up.

    python -m benchmarks.monitor

Runs ``veriphoto monitor`` as a process of its own on a log that this program writes, with a baseline, so that every
test is made. Speed is given per second of the sidecar's own CPU time too: on a machine with other work, seconds of the
clock say little. Writes ``benchmarks/results/monitor.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.processes import own_cpu_seconds

from veriphoto.contract import CONTRACT
from veriphoto.prediction_log.record import Record, segment_name
from veriphoto.shared_names import MONITOR_FOLDER
from veriphoto_monitoring.reference import baseline
from veriphoto_monitoring.reference.sources import BASELINE

ROOT = Path(__file__).parent.parent
RATE: Final = 100
"""Images a second."""
SEGMENT: Final = 50_000


def lines(count: int, seed: int, begin: float) -> list[str]:
    """Makes lines of a log: independent draws, every number with its full digits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2.0, 2.0, count)
    values = rng.lognormal(3.0, 0.5, (count, len(CONTRACT.statistics)))
    values[:, CONTRACT.statistics.index("format")] = rng.integers(0, 2, count)
    return [
        Record(
            time=begin + number / RATE,
            request_id=f"{rng.integers(1 << 62):032x}",
            model_version=1,
            logit=float(logits[number]),
            probability=float(1.0 / (1.0 + np.exp(-logits[number]))),
            verdict="ai_generated" if logits[number] > 2.0 else "real",
            statistics=tuple(map(float, values[number])),
        ).to_line()
        for number in range(count)
    ]


def memory_mb(pid: int, name: str) -> float:
    """Returns ``VmRSS`` or ``VmHWM`` of a process in megabytes."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split(f"{name}:")[1].split()[0]) / 1024


def records(url: str) -> int:
    """Returns how many records the sidecar has taken in."""
    with urllib.request.urlopen(f"{url}/drift", timeout=60) as answer:  # noqa: S310 - our own process
        return int(json.load(answer)["log"]["records"])


def measure(var: Path, count: int, seconds: float) -> dict[str, Any]:
    """Runs the sidecar on a log of ``count`` lines, then at ``RATE`` lines a second for so long."""
    log = var / "predictions"
    log.mkdir(parents=True)
    for number, start in enumerate(range(0, count, SEGMENT)):
        part = lines(min(SEGMENT, count - start), number, 1.76e9 + start / RATE)
        (log / segment_name("a", number + 1)).write_text("".join(part), encoding="utf-8")
    path = var / MONITOR_FOLDER / BASELINE
    baseline.write(path, baseline.make(log, 20_000, None, None))
    command = [sys.executable, "-m", "veriphoto_client", "monitor", "--var", str(var), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--model-repository", str(var)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101 - asked for above
        url = process.stdout.readline().split("listens at ")[1].strip()
        found = {"lines": count, **_catch_up(process.pid, url, count)}
        return found | _steady(process.pid, log / segment_name("b", 1), seconds)
    finally:
        process.kill()
        process.wait()


def _catch_up(pid: int, url: str, count: int) -> dict[str, Any]:
    began, used = time.monotonic(), own_cpu_seconds(pid)
    while records(url) < count:
        time.sleep(0.5)
    wall, cpu = time.monotonic() - began, own_cpu_seconds(pid) - used
    return {
        "catch_up_lines_per_second": round(count / wall),
        "catch_up_lines_per_cpu_second": round(count / cpu),
        "goal_lines_per_second": 20_000,
    }


def _steady(pid: int, path: Path, seconds: float) -> dict[str, Any]:
    waiting = lines(int(RATE * seconds), 99, 1.77e9)
    time.sleep(5.0)
    used, began, done = own_cpu_seconds(pid), time.monotonic(), 0
    with path.open("a", encoding="utf-8") as file:
        while done < len(waiting):
            due = min(int((time.monotonic() - began) * RATE), len(waiting))
            file.writelines(waiting[done:due])
            file.flush()
            done = due
            time.sleep(0.1)
    wall = time.monotonic() - began
    return {
        "images_per_second": round(done / wall, 1),
        "core_share": round((own_cpu_seconds(pid) - used) / wall, 4),
        "goal_core_share": 0.02,
        "rss_mb": round(memory_mb(pid, "VmRSS"), 1),
        "rss_peak_mb": round(memory_mb(pid, "VmHWM"), 1),
        "goal_rss_mb": 150,
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "monitor.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as var:
        found = measure(Path(var), arguments.lines, arguments.seconds)
    found |= {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
