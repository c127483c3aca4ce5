"""Where results go: one JSON file a benchmark, one table, one plot, and the ratios of all in ``summary.json``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from veriphoto.variants import Variant

RESULTS: Final = Path(__file__).parent / "results"
SUMMARY: Final = RESULTS / "summary.json"


def machine() -> dict[str, Any]:
    """Describes the machine without naming it."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "amx_bf16": " amx_bf16" in flags,
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 1),
        "measured_at": datetime.now(UTC).isoformat(timespec="minutes"),
    }


def save(name: str, body: Mapping[str, Any], summary: Mapping[str, Mapping[str, float]] | None = None) -> Path:
    """Writes a benchmark's result, and its ratios into the summary.

    Args:
        name: Of the benchmark.
        body: Its figures.
        summary: Ratios by name, each with ``median``, ``min`` and ``max``.

    Returns:
        The file.
    """
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps({"machine": machine(), **body}, indent=1) + "\n", encoding="utf-8")
    if summary:
        known = json.loads(SUMMARY.read_text(encoding="utf-8")) if SUMMARY.exists() else {}
        known.update({key: dict(value) for key, value in summary.items()})
        SUMMARY.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return file


def suffix(variant: str) -> str:
    """Sets the results of a variant apart from fp32's, which bear the plain name."""
    return "" if variant == Variant.FP32 else f"-{variant}"


def save_table(name: str, title: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes rows as a Markdown table; columns are the keys of all rows in the order in which they come."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"# {title}", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.md"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def save_plot(name: str, title: str, across: str, up: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Draws lines of points; does nothing where matplotlib is missing."""
    try:
        import matplotlib  # noqa: PLC0415 - the figures must not depend on a plotting library
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for label, points in lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=label)
    axes.set(title=title, xlabel=across, ylabel=up, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.png", dpi=110)
    pyplot.close(figure)


def save_bars(name: str, title: str, up: str, bars: Mapping[str, float]) -> None:
    """Draws bars; does nothing where matplotlib is missing."""
    try:
        import matplotlib  # noqa: PLC0415
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.bar(list(bars), list(bars.values()))
    axes.set(title=title, ylabel=up)
    axes.tick_params(axis="x", labelrotation=20)
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.png", dpi=110)
    pyplot.close(figure)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
