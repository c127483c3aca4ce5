"""Triton and the gateway against the limit: throughput, latency, CPU and memory on every way in.

    python -m benchmarks.served                # all of it
    python -m benchmarks.served --quick        # a minute: does it run, and roughly where does it stand
    python -m benchmarks.served --variant openvino-bf16

1. In turns at concurrency 8: the limit (one process a core, nothing between), Triton by raw HTTP, tritonclient over
   HTTP and gRPC, and the gateway. Gives ``served_over_limit`` and ``gateway_over_limit``.
2. Closed loop at concurrency 1, 2, 4, 8, 16 and 32 on every way.
3. Open loop at 50, 80 and 120 % of the capacity that part 1 found, raw and through the gateway.

Writes benchmarks/results/served*.{json,md,png}.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.pictures import SIZES, pictures
from benchmarks.processes import Worker, paused
from benchmarks.results import save, save_plot, save_table, suffix
from benchmarks.rounds import Block, in_turns
from benchmarks.servers import Served, measure, triton, with_gateway

WAYS = ("raw", "tritonclient-http", "tritonclient-grpc", "gateway")
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
        run(arguments, workers, served, load)


def run(arguments: argparse.Namespace, workers: Sequence[Worker], served: Served, load: Worker) -> None:
    """Measures the three parts and writes them."""
    ending = suffix(arguments.variant)

    def limit() -> dict[str, Any]:
        with paused([served.gateway_pid]):
            return limit_block(workers, {"seconds": arguments.seconds})

    sides: dict[str, Block] = {"limit": limit}
    sides |= {name: closed_block(load, served, name, 8, arguments.seconds) for name in WAYS}
    turns = in_turns(sides, arguments.rounds)
    ratios = {name: turns.ratio(name, "limit") for name in WAYS}
    by_cpu = {name: turns.cpu_ratio(name, "limit") for name in WAYS}
    curve = closed_loops(arguments, served, load)
    capacity = {name: turns.median(name, "images_per_s") or 1.0 for name in ("raw", "gateway")}
    opened = open_loops(arguments, served, load, capacity)
    keys = ("images_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms_per_image", "load_cpu_ms_per_image", "peak_rss_mb")
    turn_rows = [{"way": name, **{key: turns.median(name, key) for key in keys}} for name in sides]
    for row in turn_rows[1:]:
        row["over_limit"] = ratios[row["way"]]["median"]
        row["over_limit_by_cpu"] = by_cpu[row["way"]]["median"]
    save(
        f"served{ending}",
        {
            "command": f"python -m benchmarks.served --variant {arguments.variant} --megapixels {arguments.megapixels}",
            "over_limit": ratios,
            "over_limit_by_cpu": by_cpu,
            "turns": turns.blocks,
            "closed": curve,
            "open": opened,
        },
        {
            f"served_over_limit{ending}": ratios["raw"],
            f"gateway_over_limit{ending}": ratios["gateway"],
            f"served_over_limit_by_cpu{ending}": by_cpu["raw"],
            f"gateway_over_limit_by_cpu{ending}": by_cpu["gateway"],
        },
    )
    save_table(f"served{ending}", f"Served at concurrency 8, {arguments.megapixels} megapixels", turn_rows)
    save_table(f"served_closed{ending}", "Closed loop", curve)
    save_table(f"served_open{ending}", "Open loop", opened)
    points = {name: [(row["concurrency"], row["images_per_s"]) for row in curve if row["way"] == name] for name in WAYS}
    points["limit"] = [(width, turns.median("limit", "images_per_s") or 0.0) for width in (1, 32)]
    save_plot(f"served{ending}", "Closed loop", "concurrency", "images/s", points)


def closed_loops(arguments: argparse.Namespace, served: Served, load: Worker) -> list[dict[str, Any]]:
    """Measures every way at every concurrency."""
    rows = []
    for width in (1, 8) if arguments.quick else (1, 2, 4, 8, 16, 32):
        for name in WAYS:
            rows.append(
                {
                    "way": name,
                    "concurrency": width,
                    **closed_block(load, served, name, width, arguments.seconds)(),
                }
            )
    return rows


def open_loops(
    arguments: argparse.Namespace, served: Served, load: Worker, capacity: dict[str, float]
) -> list[dict[str, Any]]:
    """Measures gateway and Triton at shares of their capacity, after what one caller alone waits."""
    rows = []
    seconds = 3 * arguments.seconds
    for name in ("raw", "gateway"):
        alone = closed_block(load, served, name, 1, arguments.seconds)()
        way, url = served.way(name)
        for share in (0.5, 0.8, 1.2):
            rate = share * capacity[name]
            order = {"loop": "open", "way": way, "url": url, "rate": rate, "seconds": seconds}
            row = measure(load, order, served.pids(name))
            over = row["p99_ms"] / alone["p50_ms"] if "p99_ms" in row else None
            rows.append(
                {
                    "way": name,
                    "share": share,
                    "unloaded_p50_ms": alone["p50_ms"],
                    "p99_over_unloaded_median": over,
                    **row,
                }
            )
    return rows


if __name__ == "__main__":
    main()
