"""Attacks a real running service and says what came of it: the rows of docs/robustness.md.

    python -m benchmarks.soak                            # all parts, about half an hour: make soak
    python -m benchmarks.soak --only bombs --seconds 20  # one of them, shorter

Starts ``veriphoto serve`` on free ports, its gateway in a memory control group of 1 GiB where one can be made, and:

1. ``mutants``: damaged files of five formats;
2. ``bombs``: small files that ask for much work, beside honest callers;
3. ``overload``: photos at rates up to three times the capacity;
4. ``faults``: each process killed and stopped while photos come in.

Photos are the samples; their answers are known from scoring them without a server. Prints a line a row and then the
table, writes results/soak.json and soak.md; the service's log is var/soak/serve.log. Ends with 1 where there was a
wrong answer, a 5xx or an unclear 4xx to a damaged file, or a restart because of a bomb. Missed goals are named and are
no error.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Final

from benchmarks.load import KNOWN
from benchmarks.mutants import SAMPLES
from benchmarks.processes import Worker
from benchmarks.saving import save, save_table
from benchmarks.servers import ROOT
from benchmarks.soak_faults import try_faults
from benchmarks.soak_parts import Attack, Row, try_bombs, try_mutants, try_overload
from benchmarks.soak_service import Service, known_answers, memory_group

from veriphoto_serving.samples import find

PARTS: Final[dict[str, Callable[[Attack], Iterator[Row]]]] = {
    "mutants": try_mutants,
    "bombs": try_bombs,
    "overload": try_overload,
    "faults": try_faults,
}
_LIMIT: Final = 1 << 30
_VAR: Final = ROOT / "var" / "soak"


def main() -> int:
    """Runs the parts; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="which parts")
    parser.add_argument("--count", type=int, default=5000, help="damaged files")
    parser.add_argument("--seed", type=int, default=2027, help="of the damage")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the bombs, and of each rate of the overload")
    arguments = parser.parse_args()
    for ending in (signal.SIGTERM, signal.SIGINT):  # whoever stops it, the service goes with it
        signal.signal(ending, signal.default_int_handler)
    names = find(SAMPLES)
    photos = [name.read_bytes() for name in names]
    logits = known_answers(photos)
    KNOWN.update(zip(photos, logits, strict=True))
    with ExitStack() as stack:
        shutil.rmtree(_VAR, ignore_errors=True)
        _VAR.mkdir(parents=True)
        group = stack.enter_context(memory_group(_LIMIT))
        limited = (
            f"in a memory control group of {_LIMIT >> 20} MiB" if group else "not limited: no group can be made here"
        )
        service = Service(_VAR, group)
        stack.callback(service.stop)
        print(f"serves after {service.start():.1f} s; the gateway is {limited}", flush=True)
        load = stack.enter_context(Worker("benchmarks.load", *map(str, names)))
        load.ask({"loop": "know", "logits": logits})
        numbers = {key: getattr(arguments, key) for key in ("seconds", "count", "seed")}
        found = run(arguments.only, Attack(service=service, load=load, photos=photos, **numbers))
    return write(found, limited, numbers)


def run(parts: list[str], attack: Attack) -> list[tuple[str, Row]]:
    """Runs parts in their order and prints each row as it comes."""
    found = []
    for part in PARTS:
        for row in PARTS[part](attack) if part in parts else ():
            print(f"{part}: {row.tried}: {row.result}{_noted(row)}", flush=True)
            found.append((part, row))
    return found


def write(found: list[tuple[str, Row]], limited: str, numbers: dict[str, float]) -> int:
    """Writes the results; returns the exit code."""
    save("soak", {"gateway": limited, **numbers, "rows": [{"part": part, **asdict(row)} for part, row in found]})
    lines = [
        {
            "Tried": row.tried,
            "Count": row.count,
            "Result": row.result + _noted(row),
            "Command": f"`python -m benchmarks.soak --only {part}`",
        }
        for part, row in found
    ]
    print(save_table("soak", f"What was tried against a running service, {limited}", lines).read_text())
    return int(any(row.fatal for _, row in found))


def _noted(row: Row) -> str:
    return "".join(f"; **{words}**" for words in (row.fatal, row.missed and f"goal missed: {row.missed}") if words)


if __name__ == "__main__":
    sys.exit(main())
