"""Where results go: one JSON file a benchmark, and a table where one is read as such. The goals are in ``rows``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from veriphoto.variants import Variant, cpu_flags, cpu_name

RESULTS: Final = Path(__file__).parent / "results"
SUMMARY: Final = RESULTS / "summary.json"


def machine() -> dict[str, Any]:
    """Describes the machine without naming it."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "amx_bf16": "amx_bf16" in cpu_flags(),
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 1),
        "measured_at": datetime.now(UTC).isoformat(timespec="minutes"),
    }


def save(name: str, body: Mapping[str, Any]) -> Path:
    """Writes a benchmark's result.

    Args:
        name: Of the benchmark.
        body: Its figures.

    Returns:
        The file.
    """
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps({"machine": machine(), **body}, indent=1) + "\n", encoding="utf-8")
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


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
