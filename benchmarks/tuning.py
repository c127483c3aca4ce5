"""What a change of the server's configuration is worth: servers that differ in one thing, in turns.

    python -m benchmarks.tuning                   # or --quick, or --only NAME ...
    python -m benchmarks.tuning --variant openvino-bf16

Each row is a copy of the model repository with one edit, or another environment, beside the repository as it is; all
servers run at once, and those that are not asked do nothing. Writes benchmarks/results/tuning*.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

from benchmarks.engine import REPOSITORY
from benchmarks.pictures import SIZES, pictures
from benchmarks.processes import Worker
from benchmarks.rounds import Block, Measured, in_turns
from benchmarks.saving import save, save_table, suffix
from benchmarks.servers import Served, measure, triton

from veriphoto.sessions import PROCESS_ENVIRONMENT
from veriphoto.variants import Variant

PREPROCESS: Final = "preprocess/config.pbtxt"
EMBEDDED: Final = "classifier/configs/embedded.pbtxt"
_TWO: Final = "count: 2 kind: KIND_CPU"
_AS_IT_IS: Final = "as it is"
_FIGURES: Final = ("images_per_s", "p50_ms", "p99_ms", "cpu_ms_per_image", "peak_rss_mb")


@dataclass(frozen=True)
class Change:
    """One thing that is different."""

    edits: tuple[tuple[str, str, str], ...] = ()
    """File, text in it, text instead."""
    environment: Mapping[str, str] = field(default_factory=dict)


CHANGES: Final[dict[str, Change]] = {
    "one preprocess": Change(((PREPROCESS, _TWO, _TWO.replace("2", "1")),)),
    "three preprocess": Change(((PREPROCESS, _TWO, _TWO.replace("2", "3")),)),
    "one classifier": Change(((EMBEDDED, _TWO, _TWO.replace("2", "1")),)),
    "three classifiers": Change(((EMBEDDED, _TWO, _TWO.replace("2", "3")),)),
    "three of each": Change(((PREPROCESS, _TWO, _TWO.replace("2", "3")), (EMBEDDED, _TWO, _TWO.replace("2", "3")))),
    "pictures one by one to preprocess": Change(((PREPROCESS, "[ 1, 2, 4 ]", "[ 1 ]"),)),
    "batches to the classifier": Change(((EMBEDDED, "preferred_batch_size: [ 1 ]", "preferred_batch_size: [ 4 ]"),)),
    "pairs to the classifier": Change(((EMBEDDED, "preferred_batch_size: [ 1 ]", "preferred_batch_size: [ 2 ]"),)),
    "wait 5 ms for a batch": Change(
        ((EMBEDDED, "max_queue_delay_microseconds: 0", "max_queue_delay_microseconds: 5000"),)
    ),
    "small pages": Change(environment={"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}),
    "glibc gives memory back": Change(
        environment={"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    ),
}
"""By what is different from the repository as it is."""


def repository(at: Path, change: Change) -> Path:
    """Copies the model repository with a change.

    Raises:
        RuntimeError: If a file no longer holds the text that was to be changed.
    """
    copy = at / "repository"
    shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in change.edits:
        text = (copy / name).read_text(encoding="utf-8")
        if old not in text:
            raise RuntimeError(f"{name} no longer holds '{old}'")
        (copy / name).write_text(text.replace(old, new), encoding="utf-8")
    return copy


def compared(turns: Measured) -> list[dict[str, Any]]:
    """Returns a row of figures for each side, and how its images/s compare with the repository's as it is."""
    rows: list[dict[str, Any]] = []
    for name in turns.blocks:
        row: dict[str, Any] = {"change": name}
        if name != _AS_IT_IS:
            found = turns.ratio(name, _AS_IT_IS)
            row["ratio"] = f"{found['median']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
        rows.append(row | {key: turns.median(name, key) for key in _FIGURES})
    return rows


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(CHANGES), choices=list(CHANGES))
    parser.add_argument("--megapixels", choices=SIZES, default="1")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--variant", default=str(Variant.FP32))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 2, 1.5
    names = [str(file) for file in pictures(arguments.megapixels, 64, arguments.photos)]
    with ExitStack() as stack:
        load = stack.enter_context(Worker("benchmarks.load", *names))

        def start(change: Change) -> Served:
            at = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with mock.patch.dict(os.environ, {**PROCESS_ENVIRONMENT, **change.environment}):
                return stack.enter_context(triton(arguments.variant, repository(at, change)))

        def block(served: Served) -> Block:
            order = {"loop": "closed", "way": "raw", "url": served.raw_url, "width": 8, "seconds": arguments.seconds}
            return lambda: measure(load, order, served.triton_pids)

        sides = {_AS_IT_IS: block(start(Change()))}
        sides |= {name: block(start(CHANGES[name])) for name in arguments.only}
        turns = in_turns(sides, arguments.rounds)
    ratios = {name: turns.ratio(name, _AS_IT_IS) for name in arguments.only}
    ending = ("" if arguments.megapixels == "1" else f"_{arguments.megapixels}mp") + suffix(arguments.variant)
    command = f"python -m benchmarks.tuning --variant {arguments.variant}"
    save(f"tuning{ending}", {"command": command, "ratios": ratios, "blocks": turns.blocks})
    save_table(f"tuning{ending}", "Changes of the configuration, concurrency 8", compared(turns))


if __name__ == "__main__":
    main()
