"""Scores a folder of sample pictures on a fresh server, to show that it works."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from veriphoto.contract import SUFFIXES
from veriphoto.errors import VeriphotoError
from veriphoto.prediction_log.record import PROBE_PREFIX
from veriphoto_client import Detection, Detector

SAMPLE_ID: Final = f"{PROBE_PREFIX}sample"
"""Request id of the samples in the prediction log; they do not count as traffic."""

_COLOURS: Final = {"real": "green", "ai_generated": "magenta", "unsure": "yellow"}


@dataclass(frozen=True, slots=True)
class SampleScore:
    """One sample and its answer."""

    path: Path
    answer: Detection | VeriphotoError
    milliseconds: float

    @property
    def failed(self) -> bool:
        """Whether the sample could not be scored."""
        return isinstance(self.answer, VeriphotoError)


def find(directory: Path) -> list[Path]:
    """Lists the pictures of a folder, without its subfolders.

    Args:
        directory: The folder; may be missing.

    Returns:
        Their paths, sorted.
    """
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES)


def score(address: str, pictures: Sequence[Path]) -> Iterator[SampleScore]:
    """Scores pictures one after another, so that each time measured is that of a single request.

    Args:
        address: Triton's address, such as ``http://127.0.0.1:8000``.
        pictures: Their paths.

    Yields:
        The answers, in order.
    """
    with Detector(address) as detector:
        for path in pictures:
            start = time.perf_counter()
            answer = _ask(detector, path)
            yield SampleScore(path, answer, 1000 * (time.perf_counter() - start))


def show(console: Console, scored: Sequence[SampleScore]) -> None:
    """Prints the answers as a table, followed by the errors.

    Args:
        console: Where to print.
        scored: The answers.
    """
    table = Table("file", "verdict", title="Samples")
    for name in ("probability", "confidence", "ms"):
        table.add_column(name, justify="right")
    for sample in scored:
        table.add_row(*_row(sample))
    console.print(table)
    for sample in scored:
        if isinstance(sample.answer, VeriphotoError):
            console.print(f"{sample.path.name}: {sample.answer.message}", style="red", markup=False)


def _ask(detector: Detector, path: Path) -> Detection | VeriphotoError:
    try:
        return detector.predict(path, request_id=SAMPLE_ID)
    except VeriphotoError as error:
        return error


def _row(sample: SampleScore) -> tuple[str, ...]:
    duration = f"{sample.milliseconds:.0f}"
    if isinstance(sample.answer, VeriphotoError):
        return escape(sample.path.name), f"[red]{sample.answer.code}[/red]", "", "", duration
    verdict = sample.answer.verdict
    colour = _COLOURS[verdict.verdict]
    return (
        escape(sample.path.name),
        f"[{colour}]{verdict.verdict}[/{colour}]",
        f"{verdict.probability:.3f}",
        verdict.confidence,
        duration,
    )
