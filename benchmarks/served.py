"""Triton and the gateway against the limit: throughput, latency, CPU and memory on every way in.

    python -m benchmarks.served                # all of it
    python -m benchmarks.served --quick        # a minute: does it run, and roughly where does it stand
    python -m benchmarks.served --variant openvino-bf16

1. In turns at concurrency 8: the limit (one process a core, nothing between), Triton by raw HTTP and gRPC, and the
   gateway.
2. In turns, what one caller alone waits and an open loop at 80 % of the capacity that part 1 found, raw.
3. Once: a closed loop at concurrency 1, 4, 8 and 32 on every way, and the gateway in an open loop at 120 %.

Writes benchmarks/results/served*.json; in fp32 also its rows of the summary.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.pictures import SIZES, pictures
from benchmarks.processes import Worker, paused
from benchmarks.rounds import Block, Measured, in_turns
from benchmarks.rows import record
from benchmarks.saving import save, suffix
from benchmarks.servers import Served, measure, triton, with_gateway

from veriphoto.variants import Variant

WAYS = ("raw", "tritonclient-grpc", "gateway")
_ROWS = {"raw": "served_raw", "tritonclient-grpc": "served_grpc", "gateway": "served_gateway"}
CORES = os.cpu_count() or 1


@contextmanager
def limit_workers(files: Sequence[Path], variant: str, count: int = CORES) -> Iterator[list[Worker]]:
    """Starts one in-process scorer a core."""
    with ExitStack() as stack:
        names = [str(file) for file in files]
        yield [
            stack.enter_context(Worker("benchmarks.engine", "--variant", variant, "--start", str(7 * n), *names))
            for n in range(count)
        ]


def limit_block(workers: Sequence[Worker], order: dict[str, Any]) -> dict[str, Any]:
    """Has all of them score at once."""
    for worker in workers:
        worker.send(order)
    answers = [worker.receive() for worker in workers]
    images = sum(answer["images"] for answer in answers)
    return {
        "images_per_s": sum(answer["images"] / answer["seconds"] for answer in answers),
        "cpu_ms_per_image": round(1000.0 * sum(answer["cpu"] for answer in answers) / max(1, images), 2),
        "peak_rss_mb": round(sum(answer["rss_mb"] for answer in answers), 1),
    }


def closed_block(load: Worker, served: Served, name: str, width: int, seconds: float) -> Block:
    """Prepares a closed loop on one way in."""
    way, url = served.way(name)
    order = {"loop": "closed", "way": way, "url": url, "width": width, "seconds": seconds}
    if name == "gateway":
        return lambda: measure(load, order, served.pids(name))

    def without_gateway() -> dict[str, Any]:
        with paused([served.gateway_pid]):
            return measure(load, order, served.pids(name))

    return without_gateway


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of real photos to make the pictures from")
    parser.add_argument("--megapixels", choices=SIZES, default="1")
    parser.add_argument("--variant", default="fp32")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one block")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 2, 1.5
    files = pictures(arguments.megapixels, 32 if arguments.quick else 128, arguments.photos)
    names = [str(file) for file in files]
    with (
        limit_workers(files, arguments.variant) as workers,
        triton(arguments.variant) as alone,
        with_gateway(alone) as served,
        Worker("benchmarks.load", *names) as load,
    ):
        found = measured(arguments, workers, served, load)
    write(arguments, *found)


def measured(
    arguments: argparse.Namespace, workers: Sequence[Worker], served: Served, load: Worker
) -> tuple[Measured, list[dict[str, Any]], list[dict[str, Any]]]:
    """Measures the parts: the ways in turns, the open loops by round, and the curve."""

    def limit() -> dict[str, Any]:
        with paused([served.gateway_pid]):
            return limit_block(workers, {"seconds": arguments.seconds})

    sides: dict[str, Block] = {"limit": limit}
    sides |= {name: closed_block(load, served, name, 8, arguments.seconds) for name in WAYS}
    turns = in_turns(sides, arguments.rounds)
    capacity = {name: turns.median(name, "images_per_s") or 1.0 for name in WAYS}
    opened = [open_loop(arguments, served, load, "raw", 0.8 * capacity["raw"]) for _ in range(min(arguments.rounds, 4))]
    opened.append(open_loop(arguments, served, load, "gateway", 1.2 * capacity["gateway"]))
    widths = (1, 8) if arguments.quick else (1, 4, 8, 32)
    curve = [
        {"way": name, "concurrency": width, **closed_block(load, served, name, width, arguments.seconds)()}
        for width in widths
        for name in WAYS
    ]
    return turns, opened, curve


def open_loop(arguments: argparse.Namespace, served: Served, load: Worker, name: str, rate: float) -> dict[str, Any]:
    """Measures one way in at a rate, after what one caller alone waits."""
    alone = closed_block(load, served, name, 1, arguments.seconds)()
    way, url = served.way(name)
    order = {"loop": "open", "way": way, "url": url, "rate": rate, "seconds": 3 * arguments.seconds}
    seed = random.randrange(1 << 30)  # noqa: S311 - arrivals, not secrets
    row = measure(load, order | {"seed": seed}, served.pids(name))
    over = row["p99_ms"] / alone["p50_ms"] if "p99_ms" in row else None
    return {"way": name, "unloaded_p50_ms": alone["p50_ms"], "p99_over_unloaded_median": over, **row}


def write(
    arguments: argparse.Namespace, turns: Measured, opened: list[dict[str, Any]], curve: list[dict[str, Any]]
) -> None:
    """Writes what was measured, when the servers have ended."""
    by_cpu = {_ROWS[name]: turns.cpu_ratios(name, "limit") for name in WAYS}
    by_wall = {_ROWS[name]: turns.ratios(name, "limit") for name in WAYS}
    keys = ("images_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms_per_image", "load_cpu_ms_per_image", "peak_rss_mb")
    rows = [{"way": name, **{key: turns.median(name, key) for key in keys}} for name in turns.blocks]
    command = f"python -m benchmarks.served --variant {arguments.variant} --megapixels {arguments.megapixels}"
    body = {"command": command, "rows": rows, "turns": turns.blocks, "open": opened, "closed": curve}
    save(f"served{suffix(arguments.variant)}", body)
    if arguments.variant == Variant.FP32 and arguments.megapixels == "1":
        over = [row["p99_over_unloaded_median"] for row in opened if row["way"] == "raw"]
        record({**by_cpu, "p99_at_80_percent": [each for each in over if each]}, wall=by_wall)


if __name__ == "__main__":
    main()
