"""Scores a folder of sample pictures on a fresh server, to show that it works."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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
from veriphoto_serving.truths import Truth

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


def show(console: Console, scored: Sequence[SampleScore], truths: Mapping[str, Truth]) -> None:
    """Prints the answers, those about the hardest fakes apart, followed by the errors.

    Args:
        console: Where to print.
        scored: The answers.
        truths: What is known about the photos, by file name.
    """
    hardest = [sample for sample in scored if sample.path.name in truths and truths[sample.path.name].hardest]
    others = [sample for sample in scored if sample not in hardest]
    if others:
        _print(console, "Samples", others, truths)
        _warn_of_the_seen(console, others, truths)
    if hardest:
        _print(console, "Known misses: the hardest kinds of fake (docs/samples.md)", hardest, truths)
    for sample in scored:
        if isinstance(sample.answer, VeriphotoError):
            console.print(f"{sample.path.name}: {sample.answer.message}", style="red", markup=False)


def _print(console: Console, title: str, scored: Sequence[SampleScore], truths: Mapping[str, Truth]) -> None:
    known = any(sample.path.name in truths for sample in scored)
    table = Table("picture", *(["truth"] if known else []), "answer", title=title, title_justify="left")
    table.add_column("probability", justify="right")
    if known:
        table.add_column("right?")
    for sample in scored:
        table.add_row(*_row(sample, truths.get(sample.path.name), known=known))
    console.print(table)


def _warn_of_the_seen(console: Console, scored: Sequence[SampleScore], truths: Mapping[str, Truth]) -> None:
    seen = sum(not truths[sample.path.name].held_out for sample in scored if sample.path.name in truths)
    if seen:
        console.print(
            f"{seen} of these {len(scored)} are photos that the model learned from: they show what an answer "
            "looks like, not how good it is.",
            soft_wrap=True,
        )


def _ask(detector: Detector, path: Path) -> Detection | VeriphotoError:
    try:
        return detector.predict(path, request_id=SAMPLE_ID)
    except VeriphotoError as error:
        return error


def _row(sample: SampleScore, truth: Truth | None, *, known: bool) -> list[str]:
    row = [escape(sample.path.name), *([truth.label if truth else ""] if known else [])]
    if isinstance(sample.answer, VeriphotoError):
        return [*row, f"[red]{sample.answer.code}[/red]", "", *([""] if known else [])]
    verdict = sample.answer.verdict
    row += [f"[{_COLOURS[verdict.verdict]}]{verdict.verdict}[/]", f"{verdict.probability:.3f}"]
    return [*row, *([_judged(verdict.verdict, truth)] if known else [])]


def _judged(verdict: str, truth: Truth | None) -> str:
    if truth is None:
        return ""
    if verdict == "unsure":
        return "[yellow]left to you[/yellow]"
    return "[green]yes[/green]" if verdict == truth.label else "[red]no[/red]"
