"""The results on one page, ``results/index.md``, with plots; and the table alone, for docs/performance.md.

python -m benchmarks.page            # writes the page from summary.json and the results beside it
python -m benchmarks.page --docs     # also puts the table between its marks in docs/performance.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.rows import BUSY, ROOT, ROWS, load, missed, table
from benchmarks.saving import RESULTS

DOCS: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- table: python -m benchmarks.page --docs -->"
END: Final = "<!-- end of table -->"


def write_page() -> Path:
    """Writes the page and its plots; without matplotlib, the page alone."""
    summary = load()
    parts = ["# Speed, measured", "", _where(summary), "", table(summary)]
    short = ", ".join(
        f"{row.what} ({_by_how_much(row.goal, summary['rows'][row.key]['median'])})" for row in missed(summary)
    )
    parts += [f"Missed: {short}.", ""] if short else []
    for name, draw in (("rows", _draw_rows), ("closed", _draw_closed), ("peers", _draw_peers)):
        if _plot(name, draw, summary):
            parts += [f"![{name}]({name}.png)", ""]
    page = RESULTS / "index.md"
    page.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
    return page


def with_table(text: str, summary: Mapping[str, Any]) -> str:
    """Returns a document with the table of a summary between its marks.

    Args:
        text: The document.
        summary: What to show.

    Raises:
        ValueError: If it has no marks.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no place for the table: it needs {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{_where(summary)}\n\n{table(summary)}{END}{tail}"


def _where(summary: Mapping[str, Any]) -> str:
    machine = summary["machine"]
    return (
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, commit `{summary['commit']}`. "
        f"\\* Others took more than {BUSY:.0%} of the cores' time meanwhile."
    )


def _by_how_much(goal: float, figure: float) -> str:
    return f"{figure / goal - 1:+.0%}"


def _plot(name: str, draw: Any, summary: Mapping[str, Any]) -> bool:
    try:
        import matplotlib  # noqa: PLC0415 - the figures must not depend on a plotting library
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(8, 5))
    drawn = bool(draw(axes, summary))
    if drawn:
        axes.grid(alpha=0.3)
        figure.tight_layout()
        figure.savefig(RESULTS / f"{name}.png", dpi=90)
    pyplot.close(figure)
    return drawn


def _draw_rows(axes: Any, summary: Mapping[str, Any]) -> bool:
    """How far each row is from its goal: right of the line it is met."""
    found = [(row, entry) for row in ROWS if (entry := summary["rows"].get(row.key)) and entry["median"]]
    for place, (row, entry) in enumerate(reversed(found)):
        ends = [_score(row.at_most, row.goal, entry[key]) for key in ("low", "median", "high")]
        colour = "tab:green" if entry["met"] else "tab:red"
        axes.plot([ends[0], ends[2]], [place, place], color=colour)
        axes.plot(ends[1], place, "o", color=colour)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(range(len(found)), [row.key for row, _ in reversed(found)], fontsize=8)
    axes.set(title="How far from the goal: met right of the line", xlabel="figure over goal, or goal over figure")
    return bool(found)


def _score(at_most: bool, goal: float, figure: float) -> float:
    return goal / figure if at_most else figure / goal


def _draw_closed(axes: Any, _: Mapping[str, Any]) -> bool:
    found = _result("served")
    ways: dict[str, list[tuple[float, float]]] = {}
    for row in found.get("closed", ()):
        ways.setdefault(row["way"], []).append((row["concurrency"], row["images_per_s"]))
    for way, points in ways.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=way)
    for row in found.get("rows", ()):
        if row["way"] == "limit":
            axes.axhline(row["images_per_s"], color="black", linestyle=":", label="limit")
    axes.set(title="Closed loop, 1 megapixel", xlabel="concurrency", ylabel="images/s", ylim=(0, None))
    if ways:
        axes.legend(fontsize=8)
    return bool(ways)


def _draw_peers(axes: Any, _: Mapping[str, Any]) -> bool:
    rows: Sequence[Mapping[str, Any]] = [row for row in _result("peers").get("rows", ()) if "our Triton / it" in row]
    axes.bar([row["server"] for row in rows], [row["our Triton / it"]["median"] for row in rows])
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set(title="Our Triton over each peer", ylabel="images/s over images/s")
    axes.tick_params(axis="x", labelrotation=15)
    return bool(rows)


def _result(name: str) -> dict[str, Any]:
    file = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="put the table into docs/performance.md")
    arguments = parser.parse_args()
    print(write_page())
    if arguments.docs:
        DOCS.write_text(with_table(DOCS.read_text(encoding="utf-8"), load()), encoding="utf-8")


if __name__ == "__main__":
    main()
