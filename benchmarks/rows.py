"""The table of speed: what is measured, the goal, and where the figures of each row go (``results/summary.json``)."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.rounds import spread
from benchmarks.saving import SUMMARY, machine

ROOT: Final = Path(__file__).parent.parent
FORMER: Final = "82dcd1f"
"""The commit that goals are stated against: two squares, SiLU, whole decoding."""
BUSY: Final = 0.1
"""Share of the cores' time taken by others from which a figure is marked."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ratios at least ``goal``, or at most where ``at_most``."""

    key: str
    what: str
    goal: float
    module: str
    at_most: bool = False
    by: str = "CPU time"

    @property
    def command(self) -> str:
        """Measures it."""
        return f"python -m benchmarks.{self.module}"

    @property
    def bound(self) -> str:
        """The goal in words."""
        return f"{'≤' if self.at_most else '≥'} {self.goal:g}"

    def meets(self, figure: float) -> bool:
        """Tells whether a figure reaches the goal."""
        return figure <= self.goal if self.at_most else figure >= self.goal


_PHOTO: Final = f"of `{FORMER}`"

ROWS: Final = (
    Row("photo_1mp", f"a photo of 1 megapixel, fp32, over that {_PHOTO}", 0.65, "cost", at_most=True),
    Row("photo_12mp", f"a photo of 12 megapixels, on `auto`, over that {_PHOTO}", 0.50, "cost", at_most=True),
    Row("int8_over_fp32", "INT8 over fp32 in the network, as an accepted variant", 2.0, "cost"),
    Row("served_raw", "Triton over raw HTTP, share of the limit", 0.92, "served"),
    Row("served_grpc", "Triton over gRPC, share of the limit", 0.94, "served"),
    Row("served_gateway", "the gateway, share of the limit", 0.88, "served"),
    Row("scan_0.2mp", "`scan --engine local`, 10,000 files of 0.2 megapixels, share of the limit", 0.95, "scan"),
    Row("scan_1mp", "the same, 1 megapixel", 0.95, "scan"),
    Row("scan_12mp", "the same, 12 megapixels", 0.95, "scan"),
    Row(
        "over_best_peer",
        f"Triton, on `auto`, over the best peer with the model {_PHOTO}",
        1.8,
        "peers_compare",
        by="images/s",
    ),
    Row("over_seed_way", "the same over the seed's way as published", 4.0, "peers_compare", by="images/s"),
    Row(
        "p99_at_80_percent", "open loop at 80 % of capacity: p99 over the unloaded median", 3.0, "served", True, "wall"
    ),
    Row("memory", f"memory of a server without the second opinion, over that {_PHOTO}", 0.8, "memory", True, "MB"),
    Row("opinion_amx", f"second opinion on AMX (bf16), over a 1-megapixel photo {_PHOTO}", 1.5, "cost", True),
    Row("opinion_vnni", "the same on VNNI (INT8; the rest in bf16 where the CPU multiplies it)", 2.5, "cost", True),
    Row("opinion_plain", "the same on AVX2 (float32)", 8.0, "cost", True),
    Row("traffic_fast", f"a shop's photo, 3 % AI, `auto`, AMX or VNNI, over one {_PHOTO}", 2.0, "cost", True),
    Row("traffic_plain", "the same on AVX2", 4.0, "cost", True),
)
_BY_KEY: Final = {row.key: row for row in ROWS}


def _busy_seconds() -> float:
    """CPU time of everything on the machine since it started, and what its host kept from it."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, fields)
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])


_BEGUN: Final = (_busy_seconds(), _uptime())


def others_share() -> float:
    """Returns the share of the cores' time that others have taken since this process began.

    Ask when the processes that were measured have ended: until then their time counts as others'.
    """
    busy, up = _busy_seconds() - _BEGUN[0] - _own_seconds(), _uptime() - _BEGUN[1]
    return round(max(0.0, busy / max(up, 0.01) / (os.cpu_count() or 1)), 2)


def record(
    figures: Mapping[str, Sequence[float]],
    *,
    wall: Mapping[str, Sequence[float]] | None = None,
    notes: Mapping[str, str] | None = None,
    failed: Collection[str] = (),
) -> None:
    """Writes rows into the summary.

    Args:
        figures: Ratios by round, by the key of a row; none where this machine cannot tell.
        wall: The same ratios by wall time, for rows that are judged by another measure.
        notes: What to know of a row.
        failed: Rows that miss whatever their figures say.
    """
    known = load()
    commit, others = _commit(), others_share()
    for key, values in figures.items():
        row = _BY_KEY[key]
        entry: dict[str, Any] = {"what": row.what, "goal": row.goal, "at": "most" if row.at_most else "least"}
        entry |= {"by": row.by, **(spread(values) if values else dict.fromkeys(("median", "low", "high")))}
        entry["met"] = row.meets(entry["median"]) and key not in failed if values else None
        if wall and wall.get(key):
            entry["wall"] = spread(wall[key])
        if notes and key in notes:
            entry["note"] = notes[key]
        known["rows"][key] = entry | {"command": row.command, "others_share": others, "commit": commit}
    known["rows"] = {row.key: known["rows"][row.key] for row in ROWS if row.key in known["rows"]}
    body = {"machine": machine(), "commit": commit, "rows": known["rows"]}
    SUMMARY.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load() -> dict[str, Any]:
    """Returns the summary as it stands."""
    if not SUMMARY.exists():
        return {"machine": {}, "commit": "", "rows": {}}
    found: dict[str, Any] = json.loads(SUMMARY.read_text(encoding="utf-8"))
    return found


def table(summary: Mapping[str, Any]) -> str:
    """Returns the table in Markdown; rows that were not measured say so."""
    lines = ["| Row | By | Figure (95 % of the median) | Goal | Met |", "| --- | --- | --- | --- | --- |"]
    lines += [_line(row, summary["rows"].get(row.key)) for row in ROWS]
    return "\n".join(lines) + "\n"


def _line(row: Row, entry: Mapping[str, Any] | None) -> str:
    if entry is None or entry["median"] is None:
        said, met = (entry or {}).get("note", "not measured"), "-"
    else:
        said = _figure(entry) + (f"; wall {_figure(entry['wall'])}" if "wall" in entry else "")
        said += f"; {entry['note']}" if "note" in entry else ""
        said += " \\*" if entry["others_share"] > BUSY else ""
        met = "yes" if entry["met"] else "no"
    return f"| {row.what} | {row.by} | {said} | {row.bound} | {met} |"


def _figure(entry: Mapping[str, Any]) -> str:
    low, high = entry["low"], entry["high"]
    return f"{entry['median']:.2f}" + (f" ({low:.2f} to {high:.2f})" if low != high else "")


def missed(summary: Mapping[str, Any]) -> Iterable[Row]:
    """Yields the rows that were measured and miss their goals."""
    return (row for row in ROWS if summary["rows"].get(row.key, {}).get("met") is False)


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
