"""Memory of a served instance without the second opinion, against the former commit's.

    python -m benchmarks.memory            # or --quick

Both are started by their own launchers, answer as many photos, and are then measured: what all processes of the server
hold, shared pages divided among those that share them. Writes benchmarks/results/memory.json and its row.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, Final

from benchmarks.former import former_triton
from benchmarks.pictures import pictures
from benchmarks.processes import Worker, peak_rss_mb, proportional_mb, tree
from benchmarks.rows import record
from benchmarks.saving import save
from benchmarks.servers import triton

_PHOTOS: Final = 128
_SECONDS: Final = 2.0
_PATIENCE_S: Final = 300.0


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    blocks: list[dict[str, dict[str, float]]] = []
    with Worker("benchmarks.load", *map(str, pictures("1", 32))) as load:
        for _ in range(rounds):
            with former_triton() as former:
                before = _held(load, former.raw_url, former.pids)
            with triton() as served:
                now = _held(load, served.raw_url, served.triton_pids)
            blocks.append({"former": before, "now": now})
    save("memory", {"command": "python -m benchmarks.memory", "blocks": blocks})
    record({"memory": [each["now"]["held_mb"] / each["former"]["held_mb"] for each in blocks]})


def _held(load: Worker, url: str, pids: list[int]) -> dict[str, float]:
    order: dict[str, Any] = {"loop": "closed", "way": "raw", "url": url, "width": 8, "seconds": _SECONDS}
    images, until = 0, time.monotonic() + _PATIENCE_S
    while images < _PHOTOS:
        answer = load.ask(order)
        images += answer["images"]
        if answer["refused"] or time.monotonic() > until:
            raise SystemExit(f"{url} answered {images} photos, and {answer['refused_statuses']}")
    alive = tree(pids[0])
    return {"images": images, "held_mb": proportional_mb(alive), "peak_rss_mb": peak_rss_mb(alive)}


if __name__ == "__main__":
    main()
