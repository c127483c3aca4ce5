"""CPU time of a photo on one core against the former commit, and what the second opinion adds; in turns.

    python -m benchmarks.cost            # or --quick

Preprocessing and the FP32 graph in one process, one thread, at 0.2, 1 and 12 megapixels, and today's once more as
``auto`` runs it on this CPU; the encoder of the second opinion on one square, in each way that this CPU has.
Writes benchmarks/results/cost.json and its rows of the summary.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.engine import REPOSITORY, default_variant
from benchmarks.former import former_python, former_tree
from benchmarks.pictures import pictures
from benchmarks.processes import Worker
from benchmarks.rounds import Block, Measured, in_turns
from benchmarks.rows import ROOT, record
from benchmarks.saving import save

from veriphoto.contract import CLASSIFIER, ENCODER
from veriphoto.errors import ManifestError
from veriphoto.manifest import latest_version, read_manifest
from veriphoto.opinions import EncoderPackage, Features
from veriphoto.preprocessing import preprocess
from veriphoto.second_opinion import read_opinion
from veriphoto.variants import AUTO, CpuKind, cpu_kind, read_variants

COUNTS: Final = {"0.2": 32, "1": 24, "12": 8}
"""Photos in one block, by megapixels."""
AI_SHARE: Final = 0.03
"""Of a shop's photos."""
_INT8: Final = ("int8", "openvino-int8", "openvino-int8-bf16")
_ROWS: Final = {CpuKind.AMX: "amx", CpuKind.BF16: "vnni", CpuKind.VNNI: "vnni", CpuKind.PLAIN: "plain"}
"""A kind's row. What multiplies BF16 beside INT8 is measured with both; the row's note names the kind."""


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    rounds = 2 if arguments.quick else arguments.rounds
    sides: dict[str, Block] = {}
    with ExitStack() as stack:
        for size, most in COUNTS.items():
            count = max(2, most // 8) if arguments.quick else most
            files = [str(file) for file in pictures(size, count, arguments.photos)]
            for name, root, python in (("former", former_tree(), former_python()), ("now", ROOT, sys.executable)):
                worker = Worker("benchmarks.photo_cost", str(root), *files, python=python)
                sides[f"{name} {size}"] = _asking(stack.enter_context(worker), count)
            scorer = Worker("benchmarks.engine", "--variant", AUTO, *files)
            sides[f"auto {size}"] = _scoring(stack.enter_context(scorer), count)
        files_1 = pictures("1", 4, arguments.photos)
        sides |= {f"opinion {kind}": _looking(run, files_1) for kind, run in encoders().items()}
        turns = in_turns(sides, rounds)
    _write(turns)


def _asking(worker: Worker, count: int) -> Block:
    return lambda: worker.ask({"count": count})


def _scoring(worker: Worker, count: int) -> Block:
    def block() -> dict[str, Any]:
        done = worker.ask({"count": count})
        return {"images_per_s": count / done["seconds"], "cpu_ms_per_image": round(1000 * done["cpu"] / count, 3)}

    return block


def encoders() -> dict[CpuKind, Features]:
    """Opens the encoder in each way that this CPU can be asked in; in none where there is no encoder."""
    here = cpu_kind()
    kinds = {here, CpuKind.PLAIN, *([CpuKind.VNNI] if here is CpuKind.AMX else [])}
    try:
        package = EncoderPackage.require(REPOSITORY / ENCODER / "1")
    except ManifestError as error:
        print(f"no second opinion: {error}")
        return {}
    return {kind: package.open(1, kind) for kind in kinds}


def _looking(run: Features, files: list[Path]) -> Callable[[], dict[str, Any]]:
    squares = [preprocess(file.read_bytes()).crops[:1] for file in files]

    def block() -> dict[str, Any]:
        begun, cpu = time.perf_counter(), time.process_time()
        for square in squares:
            run(square)
        took, seconds = time.process_time() - cpu, time.perf_counter() - begun
        return {"images_per_s": len(squares) / seconds, "cpu_ms_per_image": round(1000 * took / len(squares), 2)}

    return block


def _costs(turns: Measured, side: str, key: str = "cpu_ms_per_image") -> list[float]:
    return [float(block[key]) for block in turns.blocks.get(side, ())]


def _over(mine: list[float], former: list[float]) -> list[float]:
    return [a / b for a, b in zip(mine, former, strict=bool(mine))]


def _write(turns: Measured) -> None:
    former, now = _costs(turns, "former 1"), _costs(turns, "now 1")
    figures = {
        "photo_1mp": _over(now, former),
        "photo_12mp": _over(_costs(turns, "auto 12"), _costs(turns, "former 12")),
    }
    asked, variant = asked_share(), default_variant()
    fp32 = statistics.median(_over(_costs(turns, "now 12"), _costs(turns, "former 12")))
    notes = {"photo_12mp": f"`{variant}`; FP32 {fp32:.2f}"}
    for kind, row in _ROWS.items():
        opinion = _costs(turns, f"opinion {kind}")
        if not opinion:
            figures.setdefault(f"opinion_{row}", [])
            notes.setdefault(f"opinion_{row}", f"needs a CPU with {row.upper()}")
            continue
        figures[f"opinion_{row}"] = _over(opinion, former)
        notes[f"opinion_{row}"] = f"as on `{kind}`"
        if asked is not None:
            own = now if kind is CpuKind.PLAIN else _costs(turns, "auto 1")
            average = [classifier + asked * more for classifier, more in zip(own, opinion, strict=True)]
            figures["traffic_plain" if kind is CpuKind.PLAIN else "traffic_fast"] = _over(average, former)
    if asked is not None:
        notes |= dict.fromkeys(
            (key for key in figures if key.startswith("traffic")), f"asked about {100 * asked:.0f} % of photos"
        )
    figures["int8_over_fp32"], notes["int8_over_fp32"], accepted = eight_bits()
    rows = [
        {
            "side": side,
            "cpu_ms": turns.median(side, "cpu_ms_per_image"),
            "network_ms": turns.median(side, "network_ms"),
        }
        for side in turns.blocks
    ]
    save("cost", {"command": "python -m benchmarks.cost", "rows": rows, "blocks": turns.blocks})
    record(figures, notes=notes, failed=() if accepted else ("int8_over_fp32",))


def asked_share() -> float | None:
    """Returns the share of a shop's photos that the served version asks the second opinion about."""
    opinion = read_opinion(latest_version(REPOSITORY / CLASSIFIER))
    if opinion is None:
        return None
    real, fake = opinion.metrics["clean_asked_real"], opinion.metrics["clean_asked_ai"]
    return (1 - AI_SHARE) * real + AI_SHARE * fake


def eight_bits() -> tuple[list[float], str, bool]:
    """Returns how much faster the fastest eight-bit variant was when variants were measured, and whether it may run."""
    directory = latest_version(REPOSITORY / CLASSIFIER)
    found = read_variants(directory, read_manifest(directory).onnx_sha256).get("rows", [])
    rows = [row for row in found if row["variant"] in _INT8]
    if not rows:
        return [], "not measured: veriphoto export --variants", False
    best = max(rows, key=lambda row: (row["accepted"], row["speed_up"]["b1c1"]))
    note = f"`{best['variant']}`, {'accepted' if best['accepted'] else 'not accepted'}"
    note += f"; eight photos at once {best['speed_up']['b8c1']:.2f}"
    return [best["speed_up"]["b1c1"]], note, best["accepted"]


if __name__ == "__main__":
    main()
