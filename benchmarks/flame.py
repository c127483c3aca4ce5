"""A flame graph of what serving adds: CPU samples of the server and of the steps that neither decode nor infer.

    python -m benchmarks.flame                   # raw HTTP; needs perf, and leave to use it

Writes benchmarks/results/flame-raw.svg: width is CPU time, a frame stands on its caller. Hover for shares.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final

from benchmarks.pictures import pictures
from benchmarks.processes import Worker
from benchmarks.saving import RESULTS
from benchmarks.servers import Served, triton

WORK: Final = ("preprocess", "classifier")
"""Steps whose time the limit spends too."""
_WIDTH, _HEIGHT, _LEAST = 1200, 15, 0.002
_HERTZ: Final = 997
_MODEL: Final = re.compile(rb"models/(\w+)/")


@dataclass
class Frame:
    """A function in one place of the graph."""

    count: int = 0
    callees: dict[str, Frame] = field(default_factory=dict)

    def add(self, stack: Iterable[str], count: int) -> None:
        """Counts a stack, outermost first."""
        self.count += count
        frame = self
        for name in stack:
            frame = frame.callees.setdefault(name, Frame())
            frame.count += count

    @property
    def depth(self) -> int:
        """Frames above this one."""
        return 1 + max((callee.depth for callee in self.callees.values()), default=0)


def model_of(pid: int) -> str:
    """Names the model that a process runs; ``tritonserver`` for the server itself."""
    found = _MODEL.search(Path(f"/proc/{pid}/cmdline").read_bytes())
    return found[1].decode() if found else "tritonserver"


def collapse(script: str, names: dict[int, str]) -> Counter[tuple[str, ...]]:
    """Reads what ``perf script -F pid,ip,sym`` prints: a line with a pid, then frames, innermost first.

    Args:
        script: Its output.
        names: Name of each process, by its id.

    Returns:
        How often each stack was seen, outermost first, the process in front.
    """
    found: Counter[tuple[str, ...]] = Counter()
    for block in script.split("\n\n"):
        lines = block.strip().splitlines()
        if not lines or not lines[0].split()[0].isdigit():
            continue
        frames = [line.strip().partition(" ")[2] or "?" for line in lines[1:]]
        known = [re.sub(r"\(.*|<.*", "", name) for name in frames if name not in ("?", "[unknown]")]
        found[names.get(int(lines[0].split()[0]), "other"), *reversed(known)] += 1
    return found


def svg(root: Frame, title: str) -> str:
    """Draws a graph."""
    height = (root.depth + 2) * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"',
        'font-family="monospace" font-size="10">',
        f'<text x="4" y="12">{escape(title)}</text>',
    ]

    def draw(name: str, frame: Frame, x: float, level: int) -> None:
        width = _WIDTH * frame.count / root.count
        if frame.count < _LEAST * root.count:
            return
        y = height - (level + 1) * _HEIGHT
        hue = 10 + hash_of(name) % 45
        parts.append(
            f'<g><title>{escape(name)}: {frame.count / root.count:.1%}</title><rect x="{x:.1f}" y="{y}" '
            f'width="{width:.1f}" height="{_HEIGHT - 1}" fill="hsl({hue},80%,65%)"/>'
            f'<text x="{x + 2:.1f}" y="{y + 11}">{escape(name[: int(width / 6.2)])}</text></g>'
        )
        for callee, inner in sorted(frame.callees.items()):
            draw(callee, inner, x, level + 1)
            x += _WIDTH * inner.count / root.count

    draw("all", root, 0.0, 0)
    return "\n".join([*parts, "</svg>\n"])


def hash_of(name: str) -> int:
    """Gives the same colour to the same name in every run."""
    return sum(map(ord, name))


def sampled(served: Served, load: Worker, seconds: float) -> tuple[Counter[tuple[str, ...]], int]:
    """Records while the load generator asks; returns the stacks and the number of photos."""
    names = {pid: model_of(pid) for pid in served.triton_pids}
    added = [pid for pid, name in names.items() if name not in WORK]
    way, url = served.way("raw")
    order: dict[str, Any] = {"loop": "closed", "way": way, "url": url, "width": 8}
    load.ask(order | {"seconds": 1.0})
    with tempfile.TemporaryDirectory() as at:
        file = f"{at}/perf.data"
        argv = ["perf", "record", "--quiet", "-F", str(_HERTZ), "--call-graph", "dwarf,16384", "-o", file]
        with subprocess.Popen([*argv, "-p", ",".join(map(str, added)), "--", "sleep", str(seconds)]) as perf:
            images = load.ask(order | {"seconds": seconds})["images"]
            if perf.wait():
                raise SystemExit("perf record failed; it may need kernel.perf_event_paranoid <= 1")
        argv = ["perf", "script", "-i", file, "-F", "pid,ip,sym", "--no-inline"]
        script = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return collapse(script, names), images


def main() -> None:
    """Records and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    if shutil.which("perf") is None:
        raise SystemExit("perf is not installed")
    with triton() as served, Worker("benchmarks.load", *map(str, pictures("1", 32))) as load:
        stacks, images = sampled(served, load, arguments.seconds)
    root = Frame()
    for stack, count in stacks.items():
        root.add(stack, count)
    cost = root.count / (_HERTZ / 1000.0) / images
    title = f"what serving adds to a photo over raw HTTP: {cost:.2f} ms of CPU ({images} photos, {root.count} samples)"
    (RESULTS / "flame-raw.svg").write_text(svg(root, title), encoding="utf-8")
    print(title)
    for name, frame in root.callees.items():
        print(f"{name}: {frame.count / root.count:.0%}")


if __name__ == "__main__":
    main()
